"""What a human mask buys on the Tiny Talker, as rows: call `rows(mask_of)` once the model is trained.

    from bench.mask import open_node
    from bench.mask_effect import rows
    rows(open_node(Path("out/renderer_people.safetensors"))[0])

The same held-out clips, with moving backdrops, are sampled without a mask, with the renderer's true mask, with the node's
mask of the portrait, and with a wrong one. `sample` decides how: `online` here; for plans, a function that records with the
mask, solves for the same number of steps, and samples. Differences are paired by clip and only compare at equal computed
steps, which each row states. Evidence about the mechanism of a tiny model, never about a real model's quality.
"""

import math
from collections.abc import Callable, Sequence

import numpy
import torch

from demo.dataset import draw_sound
from demo.features import mouth_opening_curve
from demo.portraits import HELD_OUT_SEED, mouth_box_of, mouth_opening, render_clip, render_portrait
from demo.scene import Settings, make_scene
from demo.scores import fidelity
from demo.speech import speech
from demo.standalone import Standalone, Take
from demo.talker import FRAMES, SIZE
from synccache_core import Config

KINDS = ("none", "true", "detected", "wrong")
REGIONS = ("human", "mouth", "background")
Sampler = Callable[[Standalone, torch.Tensor | None], Take]


def online(stage: Standalone, mask: torch.Tensor | None) -> Take:
    """A steered run at three times the speed."""
    return stage.sample(Config(target_speedup=3.0), mask)


def masks(seed: int, mask_of: Callable) -> dict[str, torch.Tensor | None]:
    """A mask of each kind: true is [F, H, W], detected [1, H, W] of the portrait, wrong is true moved by half a picture."""
    opening = mouth_opening_curve(draw_sound(seed, 9))[:FRAMES].numpy()
    true = torch.from_numpy(render_clip(seed, opening, SIZE, backdrop="moving").human_mask)
    found = mask_of(torch.from_numpy(render_portrait(seed, SIZE))[None].float(), motion=2.0)
    return {"none": None, "true": true, "detected": found, "wrong": true.roll(SIZE // 2, dims=-1)}


def one_clip(seed: int, mask_of: Callable, sample: Sampler, steps: int) -> dict[str, dict[str, float]]:
    """{kind: figures} of one clip against its uncached run."""
    waveform, rate = speech(seed)
    scene = make_scene(render_portrait(seed, SIZE), waveform.flatten().numpy(), rate)
    stage = Standalone(scene, Settings(steps=steps, seed=seed))
    plain, found = stage.decode(stage.sample().latents), {}
    curve = mouth_opening(plain, mouth_box_of(SIZE))
    for kind, mask in masks(seed, mask_of).items():
        take = sample(stage, mask)
        frames = stage.decode(take.latents)
        close = fidelity(frames, plain)
        error = float(numpy.abs(mouth_opening(frames, mouth_box_of(SIZE)) - curve).mean())
        figures = {f"{region}_psnr_db": close[region] for region in REGIONS}
        found[kind] = {"computed_steps": take.report.computed, **figures, "mouth_error": error}
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and the half width of its 95 % confidence interval (normal; 0 for one value)."""
    spread = numpy.std(values, ddof=1) if len(values) > 1 else 0.0
    return float(numpy.mean(values)), float(1.96 * spread / math.sqrt(len(values)))


def rows(mask_of: Callable, sample: Sampler = online, clips: int = 8, steps: int = 40) -> list[dict]:
    """One row a kind: means, and the paired gain over no mask with the half width of its interval, as `.._gain`, `.._ci`."""
    found = [one_clip(HELD_OUT_SEED + 200 + number, mask_of, sample, steps) for number in range(clips)]
    table = []
    for kind in KINDS:
        row: dict = {"mask": kind, "clips": clips}
        for figure in found[0][kind]:
            row[figure] = interval([clip[kind][figure] for clip in found])[0]
            gains = [clip[kind][figure] - clip["none"][figure] for clip in found]
            row[f"{figure}_gain"], row[f"{figure}_ci"] = interval(gains)
        table.append(row)
    return table
