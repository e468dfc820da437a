"""Let the Wild Talker perform on the device it was trained on: held-out clips, two noises each, and a sheet to look at."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import Tensor, nn

from ..portraits import HELD_OUT_SEED
from ..sampling import euler, guided, simple_sigmas
from ..talker import LATENT_FRAMES, negative, positive
from ..training.performance import Sampling
from ..training.train_dit import MOTION_LATENTS, audio_embed
from .loop import Clock, precision, say
from .seen import outline
from .sound import Bank, as_features
from .source import clips_of
from .talker import LATENTS
from .tracker import Tracker
from .train_dit import trainable_kernels
from .train_vae import decode, encode
from .world import is_pair

SHEET = 8  # clips on the sheet
SHOWN = (0, 6, 13, 20, 27, 34, 41, 48, 55, 62)


@torch.no_grad()
def generate(model: nn.Module, sound: Tensor, reference: Tensor, sampling: Sampling, half: bool) -> Tensor:
    """A batch of performances of any number of chunks: sound [B, 36 * chunks, D], reference latents [B, 16, 1, h, w]
    -> latents [B, 16, 9 * chunks, h, w], in the units that the transformer sees."""
    device, past = reference.device, None
    for number, heard in enumerate(sound.split(4 * LATENT_FRAMES, 1)):
        generator = torch.Generator().manual_seed(sampling.seed + number)
        noise = torch.randn(len(sound), 16, LATENT_FRAMES, *reference.shape[-2:], generator=generator).to(device)
        given = {"reference_latent": torch.cat([reference] * 2),
                 "audio_embed": torch.cat([audio_embed(heard * 0), audio_embed(heard)])}
        given["context"] = torch.cat([text.expand(len(sound), -1, -1) for text in (negative(), positive())]).to(device)
        if past is not None:
            given["reference_motion"] = torch.cat([past[:, :, -MOTION_LATENTS:]] * 2)

        def velocity(x: Tensor, sigma: float, given: dict[str, Tensor] = given) -> Tensor:
            both = torch.cat([x, x])
            times = torch.full((len(both),), 1000.0 * sigma, device=x.device)
            with precision(x.device, half):
                made = model(both, times, control_video=torch.zeros_like(both), **given)
            return guided(*made.float().chunk(2), sampling.guidance)

        made = euler(noise, simple_sigmas(sampling.steps, sampling.shift), velocity)
        past = made if past is None else torch.cat([past, made], 2)
    return past


@torch.no_grad()
def held_out_clips(bank: Bank, count: int, device: torch.device) -> list[dict[str, Tensor]]:
    """Clips [1, ...] of the first held-out seeds, singles and pairs as they come."""
    return [clips_of([seed], is_pair(seed), bank, device) for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + count)]


def decibels(first: Tensor, second: Tensor, mask: Tensor) -> float:
    """PSNR of frames [3, F, H, W] in 0..1 inside a mask [F, H, W]."""
    error = (first - second).square().mean(0)
    return -10 * math.log10(max(1e-10, (error[mask].mean() if mask.any() else error.mean()).item()))


@torch.no_grad()
def openings(tracker: Tracker, frames: Tensor) -> Tensor:
    """Frames [3, F, H, W] in 0..1 -> what the tracker sees of both mouths [2, F]."""
    return tracker(frames.transpose(0, 1) * 2 - 1).pose[..., 0].T


def follows(seen: Tensor, pose: Tensor) -> float:
    """Mean correlation of mouths [2, F] with the truth in pose [2, F, P], over those that move."""
    true = pose[..., 0]
    found = [torch.corrcoef(torch.stack([a, b]))[0, 1].item() for a, b in zip(seen, true) if b.std() > 0.02]
    return float(numpy.mean(found)) if found else math.nan


@torch.no_grad()
def people(tracker: Tracker, frames: Tensor) -> Tensor:
    """Frames [3, F, H, W] in 0..1 -> where the tracker sees somebody, bool [F, H, W]."""
    seen = tracker(frames.transpose(0, 1) * 2 - 1)
    there = seen.present.mean(0) > 0
    there[0] = True
    outlines = [outline(pose.cpu(), frames.shape[-1]) for pose in seen.pose[:, there].unbind(1)]
    return torch.from_numpy(numpy.logical_or.reduce(outlines)).to(frames.device)


@torch.no_grad()
def judge(noises: list[Tensor], quick: Tensor, tracker: Tracker | None, clock: Clock) -> None:
    """Print how far apart two noises are, and half of the steps from all, on average over clips [B, 3, F, H, W]."""
    for name, others in (("two noises", noises[1]), ("half of the steps", quick)):
        found = {"whole": [], "people": []}
        for first, second in zip(noises[0], others):
            pair = first.float(), second.float()
            whole = torch.ones_like(pair[0][0], dtype=torch.bool)
            found["whole"].append(decibels(*pair, whole))
            if tracker is not None:
                found["people"].append(decibels(*pair, people(tracker, pair[0]) | people(tracker, pair[1])))
        say(f"{len(quick)} clips, {name}: " + ", ".join(
            f"{region} {numpy.mean(values):.2f} dB" for region, values in found.items() if values), clock)


@torch.no_grad()
def perform_and_judge(dit: nn.Module, vae: nn.Module, tracker: Tracker | None, bank: Bank, count: int,
                      sampling: Sampling, half: bool, path: Path, clock: Clock) -> None:
    """Sample held-out clips with two noises, print figures, write the sheet: portrait and renderer above both noises."""
    from comfy.latent_formats import Wan21

    scale, device = Wan21(), next(vae.parameters()).device
    clips = held_out_clips(bank, count, device)
    join = lambda name: torch.cat([clip[name] for clip in clips])  # noqa: E731
    sound = as_features(join("sound"))[:, : 4 * LATENTS]
    reference = scale.process_in(encode(vae, join("reference")[:, :, None], half))

    def film(seed: int, steps: int = sampling.steps) -> Tensor:
        with trainable_kernels():
            made = generate(dit, sound, reference, replace(sampling, seed=seed * 100, steps=steps), half)
        say(f"sheet: noise {seed}, {steps} steps done", clock)
        return decode(vae, scale.process_out(made), half)

    noises = [film(1), film(2)]
    judge(noises, film(1, sampling.steps // 2), tracker, clock)
    rows = []
    for number, clip in enumerate(clips):
        videos = [clip["frames"][0].float() / 255, *(noise[number].float() for noise in noises)]
        whole = torch.ones_like(videos[0][0], dtype=torch.bool)
        cast = "pair" if clip["pair"].item() else "single"
        text = f"clip {number} {cast} two noises {decibels(*videos[1:], whole):.1f} dB"
        if tracker is not None:
            text += " mouth r rendered, noise 1, 2: " + ", ".join(
                f"{follows(openings(tracker, video), clip['pose'][0]):.2f}" for video in videos)
        say(text, clock)
        portrait = clip["reference"][0].permute(1, 2, 0)
        rows += [strip_of(video, portrait) for video in videos] if number < SHEET else []
    Image.fromarray(numpy.concatenate(rows)).save(path)


def strip_of(video: Tensor, portrait: Tensor) -> numpy.ndarray:
    """The portrait and some frames of [3, F, H, W] in 0..1, side by side, as bytes."""
    shown = (video[:, [frame for frame in SHOWN if frame < video.shape[1]]] * 255).round().to(torch.uint8)
    return torch.cat([portrait, *shown.permute(1, 2, 3, 0)], 1).cpu().numpy()
