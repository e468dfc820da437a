"""The Human Mask node against the renderer's true masks: `python -m bench.mask [--real] [--quick] [--json FILE] [--check]`.

Needs ComfyUI and ultralytics; the detector is trained first where `--detector` is not there (demo/detector.py, two minutes
of CPU time). Held-out people only. Numbers about a tiny renderer and a tiny detector, never about real photographs: those
come with `--real`, which also needs MediaPipe and a few packages with pictures of people (bench/real_people.py).
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy
import torch

from demo.comfy_graph import load_nodes
from demo.detector import posed
from demo.features import mouth_opening_curve
from demo.find_host import find_host
from demo.portraits import HELD_OUT_SEED, Clip, render_clip, render_pair
from demo.training.dataset import draw_sound
from synccache_core import Grid, token_weights
from synccache_core.human.mask import grow, motion_pixels

from . import real_people
from .harness import CAVEAT, finish, parser

SIZE, FRAMES, LATENTS, STRIDE = 96, 33, 9, 4
DETECTOR = Path("out/renderer_people.safetensors")
LEAST_IOU, LEAST_COVER = 0.8, 0.99
FIXED = {"grow": 0, "feather": 0, "classes": "person", "confidence": 0.35, "hold": 8, "motion": 0.0}


@dataclass(frozen=True)
class Row:
    """One line of the table. bound: what the value must keep to, or None; at_least tells which side."""

    figure: str
    value: float
    bound: float | None = None
    at_least: bool = True
    items: int = 0

    @property
    def wanted(self) -> str | None:
        return None if self.bound is None else f"{'>=' if self.at_least else '<='} {self.bound:g}"

    @property
    def missed(self) -> bool:
        if self.bound is None:
            return False
        return not (self.value >= self.bound if self.at_least else self.value <= self.bound)

    @property
    def shown(self) -> dict:
        return {"figure": self.figure, "value": round(self.value, 5), "wanted": self.wanted, "items": self.items}


class Node(NamedTuple):
    """mask_of: (IMAGE, **inputs) -> MASK of the real node in ComfyUI. motion: its default. pack: the package it is in."""

    mask_of: Callable
    motion: float
    pack: str


def open_node(detector: Path) -> Node:
    """With one detector file offered, and taken unless the inputs say otherwise."""
    nodes = load_nodes(find_host())
    import folder_paths

    folder_paths.set_temp_directory(tempfile.mkdtemp(prefix="synccache_previews_"))
    package = nodes["SyncCache"].__module__.rpartition(".nodes.")[0]
    module = importlib.import_module(f"{package}.nodes.mask")
    folder_paths.folder_names_and_paths["ultralytics_segm"] = ([str(detector.resolve().parent)], {detector.suffix})
    with_id = type("WithId", (module.SyncCacheHumanMask,), {"hidden": SimpleNamespace(unique_id="1")})

    def mask_of(image: torch.Tensor, **inputs) -> torch.Tensor:
        return with_id.execute(image=image, **{"detector": f"segm/{detector.name}", **FIXED, **inputs}).args[0]

    return Node(mask_of, module.MOTION, package)


def iou(found: torch.Tensor, true: numpy.ndarray) -> float:
    """Intersection over union of masks [F, H, W] cut at one half."""
    one, other = found > 0.5, torch.from_numpy(true) > 0.5
    return float((one & other).sum() / (one | other).sum().clamp(min=1))


def opening(seed: int) -> numpy.ndarray:
    return mouth_opening_curve(draw_sound(seed, LATENTS))[:FRAMES].numpy()


def clip_of(seed: int, kind: str) -> Clip:
    """A held-out clip: one person, with a camera cut, or two people."""
    if kind == "pair":
        return render_pair((seed, seed + 1), numpy.stack([opening(seed), opening(seed + 1)]), SIZE, "moving")
    return render_clip(seed, opening(seed), SIZE, backdrop="moving", cut=16 if kind == "cut" else None)


def portraits(mask_of: Callable, count: int) -> list[Row]:
    scores = []
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + count):
        picture, true = posed(seed, SIZE)
        scores.append(iou(mask_of(torch.from_numpy(picture)[None].float()), true[None]))
    return [
        Row("portraits, IoU, mean", float(numpy.mean(scores)), LEAST_IOU, items=count),
        Row("portraits, IoU, least", min(scores), items=count),
    ]


def clips(mask_of: Callable, count: int) -> list[Row]:
    rows = []
    for kind in ("one person", "cut", "pair"):
        made = [clip_of(HELD_OUT_SEED + 100 + number, kind) for number in range(count)]
        scores = [iou(mask_of(torch.from_numpy(clip.frames).float()), clip.human_mask) for clip in made]
        rows.append(Row(f"clips, {kind}, moving backdrop, IoU, mean", float(numpy.mean(scores)), items=count))
    return rows


def margin(percent: float, count: int) -> Row:
    """How much of where a person goes in a clip the true mask of the portrait covers, once widened."""
    covered, size = [], 2 * SIZE
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + count):
        wide = grow(torch.from_numpy(posed(seed, size)[1])[None], motion_pixels(percent, size, size))[0] > 0.5
        everywhere = torch.from_numpy(render_clip(seed, opening(seed), size).human_mask).amax(dim=0) > 0.5
        covered.append(float((wide & everywhere).sum() / everywhere.sum()))
    bound = LEAST_COVER if percent else None
    return Row(f"share of a clip in the portrait's mask + {percent:g} %, least", min(covered), bound, items=count)


def token_sums(count: int) -> Row:
    """Largest difference between what the tokens weigh, times the pixels of each, and the pixels of a 0/1 mask."""
    grid, worst = Grid(LATENTS, SIZE // 16, SIZE // 16), 0.0
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + count):
        mask = (torch.from_numpy(render_clip(seed, opening(seed), SIZE).human_mask) > 0.5).float()
        pixels = torch.tensor([1.0] + [STRIDE] * (LATENTS - 1)) * 16 * 16
        for given, true in ((mask, mask.sum()), (mask[:1], mask[0].sum() * FRAMES)):
            weights = token_weights(given, grid).view(LATENTS, -1)
            worst = max(worst, abs(float((weights.sum(dim=1) * pixels).sum() - true)))
    return Row("token weights, difference from the mask's sum, pixels", worst, 0.0, at_least=False, items=2 * count)


def measure(node: Node, quick: bool) -> list[Row]:
    many, few = (20, 2) if quick else (48, 8)
    return [
        *portraits(node.mask_of, many), *clips(node.mask_of, few), margin(0.0, few), margin(node.motion, many),
        token_sums(few),
    ]  # fmt: skip


def measure_real(node: Node, quick: bool) -> tuple[list[dict], list[Row]]:
    """A line for each picture or clip, and what is required of the clips."""
    lines = [real_people.line(look, iou) for look in real_people.looks(node.mask_of, node.pack, quick)]
    films = [line for line in lines if line["who"] in real_people.CLIPS]
    alike = [line["IoU of the two"] for line in films]
    rows = []
    for name in ("YOLO11n", "MediaPipe"):
        full = sum(line[f"{name} finds"] == line["frames"] for line in films)
        rows.append(Row(f"clips with somebody in every frame, {name}", full, len(films), items=len(films)))
    return lines, [
        *rows,
        Row("IoU of the two, mean of the clips", float(numpy.mean(alike)), real_people.LEAST_IOU, items=len(films)),
        Row("IoU of the two, least of the clips", min(alike), items=len(films)),
    ]


def trained(detector: Path) -> Path:
    """The detector, trained where it is not there yet; in a process of its own, which leaves nothing behind in this one."""
    if not detector.exists():
        command = [sys.executable, "-m", "demo.detector", "--out", str(detector)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])})
    return detector


def require(made: argparse.ArgumentParser) -> None:
    """End with what to do where ComfyUI or ultralytics is missing."""
    if find_host() is None:
        made.error("no ComfyUI found: set COMFYUI_PATH to its folder")
    if find_spec("ultralytics") is None:
        made.error("ultralytics is not installed: DETECTOR=1 make setup")


def require_real(made: argparse.ArgumentParser) -> None:
    if lacking := real_people.absent():
        made.error(f"not installed: {', '.join(lacking)}. {real_people.HOW}")


def main(argv: Sequence[str] | None = None) -> int:
    made = parser("bench.mask", __doc__, "20 portraits and 2 clips of a kind instead of 48 and 8")
    made.add_argument("--detector", type=Path, default=DETECTOR, help=f"a .safetensors detector (default: {DETECTOR})")
    made.add_argument("--real", action="store_true", help="real people instead; --quick: 8 frames of each clip")
    options = made.parse_args(argv)
    require(made)
    if options.real:
        require_real(made)
        lines, rows = measure_real(open_node(real_people.model()), options.quick)
        tables = {"the Human Mask node on real people": lines, "in all": [row.shown for row in rows]}
    else:
        rows = measure(open_node(trained(options.detector)), options.quick)
        tables = {"the Human Mask node against the renderer's masks": [row.shown for row in rows]}
    short = [f"{row.figure}: {row.value:.4f}, required {row.wanted}" for row in rows if row.missed]
    return finish(tables, short, options, real_people.CAVEAT if options.real else CAVEAT)


if __name__ == "__main__":
    sys.exit(main())
