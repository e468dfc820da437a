"""Measure the Tiny Talker on held-out people and speech: `python -m demo.evaluate [--check]`.

Numbers printed here are evidence about the mechanism of a tiny model, never about a real model's quality.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy
import torch
from PIL import Image

from .dataset import HELD_OUT, as_video, make_example, stacked
from .modelling import build_dit, build_vae, load_weights, open_host
from .portraits import mouth_box_of, mouth_opening
from .progress import psnr
from .talker import CONFIG, DIT_FILE, LATENT_FRAMES, SIZE, VAE_FILE, negative, positive
from .train_dit import audio_embed, shifted

REQUIRED_CORRELATION = 0.5
STRIP_FRAMES = 12


def guided_velocity(model: torch.nn.Module, latent: torch.Tensor, sigma: torch.Tensor, sound: torch.Tensor,
                    reference: torch.Tensor, guidance: float) -> torch.Tensor:
    """Classifier-free guidance as the host does it: prompt and sound against no prompt and no sound."""
    count = len(latent)
    embed = audio_embed(sound)
    both = model(torch.cat([latent, latent]), (sigma * 1000).expand(2 * count),
                 context=torch.cat([positive().expand(count, -1, -1), negative().expand(count, -1, -1)]),
                 audio_embed=torch.cat([embed, embed * 0.0]), reference_latent=torch.cat([reference, reference]),
                 control_video=torch.zeros_like(torch.cat([latent, latent])))
    with_sound, without = both.chunk(2)
    return without + guidance * (with_sound - without)


@torch.no_grad()
def sample(model: torch.nn.Module, sound: torch.Tensor, reference: torch.Tensor, steps: int = 20,
           guidance: float = 2.0, shift: float = 8.0, seed: int = 0) -> torch.Tensor:
    """Euler sampling: sound [B, A, D] and reference latents [B, 16, 1, 8, 8] -> latents [B, 16, T, 8, 8]."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(len(sound), 16, LATENT_FRAMES, SIZE // 8, SIZE // 8, generator=generator)
    levels = shifted(torch.linspace(1, 0, steps + 1), shift)
    for sigma, following in zip(levels[:-1], levels[1:]):
        latent = latent + (following - sigma) * guided_velocity(model, latent, sigma, sound, reference, guidance)
    return latent


def held_out_examples(count: int) -> dict[str, torch.Tensor]:
    """Clips of people and sentences that training never saw, stacked."""
    return stacked([make_example(HELD_OUT + index) for index in range(count)])


def pictures(video: torch.Tensor) -> numpy.ndarray:
    """[B, 3, F, H, W] in -1..1 -> [B, F, H, W, 3] in 0..1."""
    return ((video.clamp(-1, 1) + 1) / 2).movedim(1, -1).numpy()


def correlation(first: numpy.ndarray, second: numpy.ndarray) -> float:
    """Pearson correlation of two curves; zero if one of them is flat."""
    if min(first.std(), second.std()) < 1e-6:
        return 0.0
    return float(numpy.corrcoef(first, second)[0, 1])


def openings(frames: numpy.ndarray) -> numpy.ndarray:
    """Estimated opening [B, F] of clips [B, F, H, W, 3]."""
    return numpy.stack([mouth_opening(clip, mouth_box_of(SIZE)) for clip in frames])


class Studio:
    """The two models, and the way from an example to generated pictures."""

    def __init__(self, dit: torch.nn.Module | None = None):
        from comfy.latent_formats import Wan21

        self.scale = Wan21()
        self.vae = load_weights(build_vae(), VAE_FILE)
        self.dit = dit or load_weights(build_dit(dict(CONFIG)), DIT_FILE)

    @torch.no_grad()
    def references(self, examples: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.scale.process_in(self.vae.encode(as_video(examples["reference"][:, None])))

    @torch.no_grad()
    def round_trip(self, examples: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.vae.decode(self.vae.encode(as_video(examples["frames"])))

    @torch.no_grad()
    def perform(self, examples: dict[str, torch.Tensor], sound: torch.Tensor, **settings: float) -> numpy.ndarray:
        """Generated pictures [B, F, H, W, 3] of the examples' people saying `sound`."""
        latent = sample(self.dit, sound, self.references(examples), **settings)
        return pictures(self.vae.decode(self.scale.process_out(latent)))


def measure(studio: Studio, examples: dict[str, torch.Tensor], **settings: float) -> tuple[dict, numpy.ndarray]:
    """All numbers of the report, and the generated pictures."""
    truth = examples["opening"].numpy()
    restored = studio.round_trip(examples)
    started = time.perf_counter()
    spoken = studio.perform(examples, examples["sound"], **settings)
    seconds = time.perf_counter() - started
    silent = studio.perform(examples, examples["sound"] * 0, **settings)
    heard = openings(spoken)
    own = [correlation(*pair) for pair in zip(heard, truth)]
    other = [correlation(*pair) for pair in zip(heard, numpy.roll(truth, 1, axis=0))]
    rendered = [correlation(*pair) for pair in zip(openings(examples["frames"].numpy() / 255.0), truth)]
    return {"clips": len(truth), "seconds_per_clip": seconds / len(truth), "correlation": own,
            "median_correlation": float(numpy.median(own)), "median_with_another_sound": float(numpy.median(other)),
            "median_of_rendered_frames": float(numpy.median(rendered)),
            "opening_spread": float(heard.std(1).mean()),
            "opening_spread_without_sound": float(openings(silent).std(1).mean()),
            "vae_psnr_db": psnr(restored, as_video(examples["frames"])), **settings}, spoken


def write_strip(path: Path, examples: dict[str, torch.Tensor], generated: numpy.ndarray) -> None:
    """Rows of reference, then frames; the rendered clip above the generated one."""
    picks = numpy.linspace(0, generated.shape[1] - 1, STRIP_FRAMES).round().astype(int)
    references, truths, rows = examples["reference"].numpy() / 255, examples["frames"].numpy() / 255, []
    for reference, truth, made in zip(references, truths, generated):
        rows += [numpy.concatenate([reference, *clip[picks]], axis=1) for clip in (truth, made)]
    image = Image.fromarray((numpy.concatenate(rows) * 255).round().astype("uint8"))
    image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS).save(path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--shift", type=float, default=8.0)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--strip", type=Path, default=Path("strip.png"), help="write true and generated frames here")
    parser.add_argument("--check", action="store_true", help="exit 1 if the median correlation is too low")
    return parser.parse_args()


def main() -> int:
    options = parse()
    torch.set_num_threads(1)  # tensors this small only wait for each other on more
    open_host()
    examples = held_out_examples(options.clips)
    settings = {"steps": options.steps, "guidance": options.guidance, "shift": options.shift}
    result, generated = measure(Studio(), examples, **settings)
    write_strip(options.strip, examples, generated)
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return int(options.check and result["median_correlation"] < REQUIRED_CORRELATION)


if __name__ == "__main__":
    sys.exit(main())
