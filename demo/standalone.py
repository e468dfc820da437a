"""The demo without ComfyUI: diffsynth's transformer, diffusers' VAE, SyncCache attached to a plain torch module."""
import contextlib
import time
from dataclasses import dataclass

import numpy as np
import torch

from synccache_core import Config, Grid, attach, fewer
from synccache_core.attach import calibrate

from . import sampling, thirdparty
from .console import bar
from .talker import DIT_FILE, LATENT_FRAMES, SIZE, VAE_FILE, negative, positive

LATENT = (1, 16, LATENT_FRAMES, SIZE // 8, SIZE // 8)


@dataclass(frozen=True)
class Take:
    """One sampled video. seconds: in the DiT, the cache's work included. report: has RunReport's fields, or None."""

    latents: torch.Tensor
    seconds: float
    report: object = None


class Standalone:
    """A backend of the demo; `demo.comfy_graph.Comfy` is the other one. dit, vae: files of the same architecture."""

    def __init__(self, scene, settings, dit=DIT_FILE, vae=VAE_FILE):
        self.talker = thirdparty.load_talker(dit, vae)
        self.settings = settings
        reference = self.talker.encode(scene.portrait.movedim(-1, 1)[:, :, None] * 2 - 1)
        sound = scene.audio_embed
        self.conditional = {"context": positive(), "audio_embed": sound, "reference_latent": reference}
        self.unconditional = {"context": negative(), "audio_embed": sound * 0, "reference_latent": reference}
        self.sigmas = sampling.simple_sigmas(settings.steps, settings.shift)

    @property
    def title(self):
        import diffusers
        return f"diffsynth's S2V transformer and diffusers {diffusers.__version__}'s Wan VAE"

    def warm_up(self):
        """First calls allocate memory and choose kernels; they would count against whoever runs first."""
        for _ in range(2):
            thirdparty.velocity(self.talker.dit, torch.zeros(LATENT), 1.0, **self.conditional)

    def velocities(self, x, sigma, session):
        """(unconditional, conditional) velocity at one evaluation of the sampler, both like x."""
        with session.branch("cond") if session else contextlib.nullcontext():
            conditional = thirdparty.velocity(self.talker.dit, x, sigma, **self.conditional)
        with session.branch("uncond") if session else contextlib.nullcontext():
            return thirdparty.velocity(self.talker.dit, x, sigma, **self.unconditional), conditional

    def guided(self, x, sigma, session):
        """The velocity after guidance, by way of the session where there is one."""
        def run():
            return sampling.guided(*self.velocities(x, sigma, session), self.settings.guidance)

        return session.predict(sigma, run) if session else run()

    def attached(self, config: Config | None, mask, plan):
        """The context in which the transformer runs: SyncCache for a config or a plan, nothing for None."""
        if config is None and plan is None:
            return contextlib.nullcontext()
        sigmas = self.taken(plan)
        grid, cfg = Grid.from_latent(LATENT), self.settings.guidance
        return attach(self.talker.dit, config or Config(), sigmas, grid, mask, plan=plan, cfg=cfg)

    def taken(self, plan):
        """The sigmas that a run goes over: all, or those of a plan that takes fewer steps."""
        steps = range(len(self.sigmas) - 1) if plan is None else fewer(plan, self.sigmas)[0]
        return [*(self.sigmas[step] for step in steps), self.sigmas[-1]]

    def noise(self):
        return sampling.seeded_noise(LATENT, self.settings.seed)

    def run(self, session, label="plain", plan=None):
        """(latents, seconds spent on the velocities) of one sampling run."""
        spent = []

        def velocity(x, sigma):
            started = time.perf_counter()
            out = self.guided(x, sigma, session)
            spent.append(time.perf_counter() - started)
            return out

        return sampling.euler(self.noise(), self.taken(plan), velocity, lambda steps: bar(steps, label, "step")), sum(spent)

    @torch.inference_mode()
    def sample(self, config=None, mask=None, label="plain", plan=None):
        """One Take. config, plan: None for the plain model. mask: human mask [H,W] in 0..1."""
        with self.attached(config, mask, plan) as session:
            latents, seconds = self.run(session, label, plan)
        return Take(latents, seconds, session.report if session else None)

    @torch.inference_mode()
    def calibrate(self, mask=None, label="calibration"):
        """(Take of the plain run, Recording of it)."""
        with calibrate(self.talker.dit, self.sigmas, Grid.from_latent(LATENT), mask, cfg=self.settings.guidance) as session:
            latents, seconds = self.run(session, label)
            recording = session.recording()
        return Take(latents, seconds, session.report), recording

    def decode(self, latents):
        """Latents -> frames [F,H,W,3] in 0..1."""
        pixels = self.talker.decode(latents)[0].movedim(0, -1)
        return np.clip((pixels.numpy() + 1) / 2, 0, 1)
