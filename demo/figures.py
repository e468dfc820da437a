"""What is measured on one generated clip, or on a chain of chunks, against the renderer's own clip."""

from __future__ import annotations

import numpy
import torch

from synccache_core.compare.lips import best_lag, correlation

from .backdrops import draw_backdrop
from .people import draw_person
from .portraits import mouth_box_of, mouth_opening
from .scores import psnr, ssim
from .talker import FRAMES, LATENT_FRAMES, SIZE
from .training.performance import Sampling, Studio

SILENT_EVERY = 4  # generating without sound costs as much as with it
# Where identity is looked at, in drawing coordinates: top, bottom, left, right.
PATCHES = {"skin": (0.08, 0.22, 0.22, 0.40), "hair": (-0.74, -0.60, -0.2, 0.2), "clothes": (0.86, 1.0, 0.34, 0.6)}


def mouth_of(frames: numpy.ndarray) -> numpy.ndarray:
    """The opening [F] that is seen in frames [F, H, W, 3]."""
    return mouth_opening(frames, mouth_box_of(SIZE))


def change(frames: numpy.ndarray, where: numpy.ndarray) -> float:
    """Mean absolute change from frame to frame of [F, H, W, 3] inside a mask [H, W]."""
    return float(numpy.abs(numpy.diff(frames, axis=0))[:, where].mean())


def flicker_ratio(seed: int, frames: numpy.ndarray, truth: numpy.ndarray, mask: numpy.ndarray) -> float | None:
    """Flicker of a still backdrop over the renderer's (its camera noise); None where the backdrop moves."""
    if draw_backdrop(seed).kind != "still":
        return None
    behind = mask.max(0) == 0
    return change(frames, behind) / change(truth, behind)


def clip_figures(seed: int, example: dict[str, torch.Tensor], frames: numpy.ndarray, studio: Studio,
                 sampling: Sampling) -> dict:
    """Everything that is measured on one clip; keys as in evaluate's rows, None where it does not apply."""
    truth, opening = example["frames"].numpy() / 255, example["opening"].numpy()
    mask = example["mask"].numpy()
    human, mouth = mask > 127, mouth_of(frames)
    restored = studio.decode(studio.encode(example["frames"]))
    silence = None
    if seed % SILENT_EVERY == 0:
        silent = studio.perform(example["reference"], example["sound"] * 0, sampling)
        silence = float(mouth_of(silent).std() / mouth.std())
    return {
        "opening": opening, "mouth": mouth,
        "correlation": correlation(mouth, opening), "rendered_correlation": correlation(mouth_of(truth), opening),
        "lag_frames": best_lag(mouth, opening), "movement_without_sound": silence,
        "vae_psnr_db": psnr(restored, truth, numpy.ones((SIZE, SIZE), bool)),
        "human_ssim": float(ssim(frames, truth)[human].mean()),
        "vae_human_ssim": float(ssim(restored, truth)[human].mean()),
        "flicker_ratio": flicker_ratio(seed, frames, truth, mask),
    }


def patch_colours(seed: int, frames: numpy.ndarray) -> numpy.ndarray:
    """Mean colours [patches, 3] of skin, hair (if any) and clothes over frames [F, H, W, 3]."""
    bald, colours = draw_person(seed).style == "bald", []
    for name, edges in PATCHES.items():
        top, bottom, left, right = (round((edge + 1) * SIZE / 2) for edge in edges)
        if not (bald and name == "hair"):
            colours.append(frames[:, top:bottom, left:right].mean(axis=(0, 1, 2)))
    return numpy.stack(colours)


def chain_figures(seed: int, example: dict[str, torch.Tensor], frames: numpy.ndarray, studio: Studio,
                  sampling: Sampling) -> dict:
    """Correlation of every chunk, drift of the colours from the first to the last one, and the seams."""
    opening = example["opening"].numpy()
    seams = [FRAMES, FRAMES + 4 * LATENT_FRAMES]
    curves = zip(numpy.split(mouth_of(frames), seams), numpy.split(opening, seams))
    first, last = (patch_colours(seed, chunk) for chunk in (frames[: seams[0]], frames[seams[1] :]))
    steps = numpy.abs(numpy.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    others = [step for step in range(4, len(steps), 4) if step + 1 not in seams]  # into the first frame of a latent
    return {"correlations": [correlation(*pair) for pair in curves],
            "drift_percent": float(100 * numpy.abs(last - first).mean(axis=1).max()),
            "seam_ratio": float(steps[[seam - 1 for seam in seams]].mean() / numpy.median(steps[others]))}

