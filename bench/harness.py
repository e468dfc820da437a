"""What the benches share: held-out scenes, work on all cores, tables, --json, --quick, --check."""

import argparse
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from demo.console import bar, say
from demo.dataset import HELD_OUT_SEED
from demo.portraits import render_portrait
from demo.scene import CLIP_SECONDS, Scene, Settings, make_scene
from demo.scores import fidelity
from demo.speech import speech
from demo.standalone import Standalone

CAVEAT = "The Tiny Talker's numbers are evidence about the mechanism, never about a real model's quality."


def held_out_scene(number: int) -> Scene:
    """A portrait and a stretch of speech that training never saw. Needs espeak-ng."""
    waveform, rate = speech(HELD_OUT_SEED + number)
    spare = max(0.0, waveform.shape[-1] / rate - CLIP_SECONDS)
    start = int(np.random.default_rng([number, 11]).uniform(0, spare) * rate)
    sound = waveform[0, start : start + math.ceil(CLIP_SECONDS * rate)].numpy()
    return make_scene(render_portrait(HELD_OUT_SEED + number), sound, rate)


@lru_cache(maxsize=4)
def stage(number: int, settings: Settings) -> Standalone:
    """A held-out scene, ready to be sampled in this process on one thread."""
    torch.set_num_threads(1)
    return Standalone(held_out_scene(number), settings)


def on_all_cores(work: Callable, jobs: Sequence, label: str) -> list:
    """[work(job)], each process on one thread; work and jobs travel by pickle."""
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, len(jobs))) as pool:
        return list(bar(pool.imap(work, jobs), label, "clip", total=len(jobs)))


def decibels(frames: np.ndarray, plain: np.ndarray) -> dict[str, float]:
    """PSNR of frames [F, H, W, 3] to the plain ones, whole and human, at most 100."""
    return {name: min(100.0, value) for name, value in fidelity(frames, plain).items() if name in ("whole", "human")}


def parser(name: str, doc: str, quick: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"python -m {name}", description=doc.splitlines()[0])
    made.add_argument("--json", type=Path, help="also write the rows to this file")
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--check", action="store_true", help="exit with 1, and say why, where an acceptance figure is missed")
    return made


def show(rows: Sequence[dict]) -> None:
    """Rows as a table, columns in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    texts = [[shown(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in texts)) + 2 for i, name in enumerate(columns)]
    for line in (columns, *texts):
        say("".join(text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in enumerate(zip(line, widths))))


def shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def finish(tables: dict[str, list[dict]], missed: Iterable[str], options: argparse.Namespace) -> int:
    """Print the tables, write them, and say what falls short; the exit status."""
    for title, rows in tables.items():
        say(f"\n{title}")
        show(rows)
    say(CAVEAT)
    if options.json:
        options.json.write_text(json.dumps(tables, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    lines = list(missed) if options.check else []
    for line in lines:
        say(f"missed: {line}")
    return int(bool(lines))
