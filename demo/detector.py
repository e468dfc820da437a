"""A small YOLO that finds the renderer's people: `python -m demo.detector [--out FILE] [--epochs N] [--size PX]`.

Trains ultralytics' yolo11-seg at an eighth of its width on portraits whose true masks the renderer knows, for a minute or
two on a CPU, and writes weights and architecture as safetensors.  Needs `pip install ultralytics` (AGPL-3.0): weights
trained with it are a fixture for tests and the demo, are not kept in this repository and know no real people.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy

from synccache_core.human.detector_file import convert

from .backdrops import draw_backdrop, paint_backdrop
from .canvas import Canvas
from .console import bar, say
from .portraits import HELD_OUT_SEED, add_speaker, render_clip, render_pair, still_motion

PICTURES, VALIDATION = 240, 16
SIZE, EPOCHS = 128, 20
KINDS, SHARES = ("portrait", "speaking", "far", "pair", "nobody"), (0.3, 0.3, 0.1, 0.2, 0.1)
# yolo11-seg.yaml's backbone and head, an eighth as wide: 0.36 million weights.
SCALE = [0.50, 0.125, 256]
OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


def posed(seed: int, size: int = SIZE) -> tuple[numpy.ndarray, numpy.ndarray]:
    """render_portrait's picture [size, size, 3] in 0..1 and its person's true mask [size, size] in 0..1."""
    motion, canvas = still_motion(), Canvas(1, size)
    paint_backdrop(canvas, draw_backdrop(seed), motion.seconds)
    speaker = add_speaker(canvas, seed, motion, numpy.zeros(1))
    return numpy.clip(canvas.picture[0], 0, 1), speaker.mask[0]


def draw_picture(seed: int, size: int = SIZE) -> tuple[numpy.ndarray, list[numpy.ndarray]]:
    """A picture [size, size, 3] in 0..1 and the mask [size, size] in 0..1 of each person in it."""
    rng = numpy.random.default_rng([seed, 11])
    kind, opening = str(rng.choice(KINDS, p=SHARES)), rng.random(3) ** 2
    if kind == "nobody":
        canvas = Canvas(1, size)
        paint_backdrop(canvas, draw_backdrop(seed), still_motion().seconds)
        return numpy.clip(canvas.picture[0], 0, 1), []
    if kind == "portrait":
        picture, mask = posed(seed, size)
        return picture, [mask]
    if kind == "pair":
        clip = render_pair((seed, seed + 1), numpy.stack([opening, opening[::-1]]), size)
    else:
        clip = render_clip(seed, opening, size, cut=1 if kind == "far" else None)
    return clip.frames[-1], [speaker.mask[-1] for speaker in clip.speakers]


def outline(mask: numpy.ndarray) -> str:
    """A mask [H, W] as the line of a YOLO label file: class, then x y of its outline in 0..1."""
    import cv2

    found, _ = cv2.findContours((mask > 0.5).astype(numpy.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = (max(found, key=cv2.contourArea)[:, 0] + 0.5) / mask.shape[::-1]
    return " ".join(["0", *(f"{value:.4f}" for value in points.ravel())])


def write_pictures(folder: Path, seeds: range, size: int) -> None:
    """Pictures and label files in YOLO's folders."""
    from PIL import Image

    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for seed in bar(seeds, "rendering"):
        picture, masks = draw_picture(seed, size)
        Image.fromarray((picture * 255).round().astype(numpy.uint8)).save(folder / "images" / f"{seed}.png")
        (folder / "labels" / f"{seed}.txt").write_text("\n".join(map(outline, masks)), encoding="utf-8")


def architecture() -> dict:
    """ultralytics' own yolo11-seg, smaller."""
    import ultralytics
    import yaml

    source = Path(ultralytics.__file__).parent / "cfg/models/11/yolo11-seg.yaml"
    found = yaml.safe_load(source.read_text(encoding="utf-8"))
    return {**found, "nc": 1, "scales": {"p": SCALE}}


def fit(folder: Path, size: int, epochs: int) -> Path:
    """Train in a folder of pictures; returns ultralytics' own checkpoint."""
    import yaml
    from ultralytics import YOLO

    wanted, data = folder / "yolo11p-seg.yaml", folder / "data.yaml"
    wanted.write_text(yaml.safe_dump(architecture()), encoding="utf-8")
    parts = {"path": str(folder), "train": "train/images", "val": "val/images", "names": {0: "person"}}
    data.write_text(yaml.safe_dump(parts), encoding="utf-8")
    YOLO(wanted, task="segment").train(
        data=str(data), imgsz=size, epochs=epochs, batch=16, optimizer="AdamW", lr0=4e-3, lrf=0.02, warmup_epochs=1,
        mosaic=0.0, scale=0.25, translate=0.05, erasing=0.0, workers=0, seed=0, device="cpu", amp=False, val=False,
        plots=False, verbose=False, project=str(folder), name="run", exist_ok=True, mask_ratio=2, overlap_mask=True,
    )  # fmt: skip
    return folder / "run/weights/last.pt"


def train(out: Path, size: int = SIZE, epochs: int = EPOCHS, pictures: int = PICTURES) -> float:
    """Render, train and write `out`; returns the seconds. Everything else stays in a temporary folder."""
    started, folder = time.perf_counter(), Path(tempfile.mkdtemp(prefix="synccache_detector_"))
    os.environ.update(OFFLINE, YOLO_CONFIG_DIR=str(folder))
    write_pictures(folder / "train", range(pictures), size)
    write_pictures(folder / "val", range(HELD_OUT_SEED - VALIDATION, HELD_OUT_SEED), size)
    try:
        convert(fit(folder, size, epochs), out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return time.perf_counter() - started


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.detector", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/renderer_people.safetensors"), help="file to write")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--size", type=int, default=SIZE, help="pixels of a training picture's side")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    options = parser.parse_args(argv)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    seconds = train(options.out, options.size, options.epochs, options.pictures)
    say(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
