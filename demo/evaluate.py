"""Judge a talker on held-out people and speech: `python -m demo.evaluate [--world tiny|wild] [--check] [--json FILE]`.

`--world tiny`: [--clips N] [--chains N]: the Tiny Talker, sampled by ComfyUI's classes with Euler steps.
`--world wild`: [--pairs N] [--folder DIR] [--fresh]: the Wild Talker, see `wild/judged.py`; without ComfyUI.
Both: [--steps N] [--guidance X] [--shift X] [--output DIR] [--quick].

Prints one row for every acceptance figure and writes a contact sheet and two videos to look at.  These numbers are
evidence about the mechanism of a small model, never about a real model's quality.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy
import torch

from .acceptance import Row, finish, required
from .console import bar
from .figures import chain_figures, clip_figures
from .media import strip, write_video
from .scores import with_others
from .talker import FPS, LATENT_FRAMES
from .training.dataset import HELD_OUT_SEED, make_example
from .training.modelling import open_host
from .training.performance import Sampling, Studio
from .wild import judged

CLIPS, CHAINS = 24, 6
CHAIN_SEED = HELD_OUT_SEED + 500
SHEET_CLIPS = 8
CAVEAT = "Evidence about the mechanism of a small model, never about a real model's quality."


@lru_cache(maxsize=1)
def studio() -> Studio:
    """The models of one process, on one thread: tensors this small only wait for each other on more."""
    torch.set_num_threads(1)
    open_host()
    return Studio()


def play(job: tuple[str, int], sampling: Sampling) -> dict:
    """One held-out clip, or one chain of three chunks: its figures and its pictures."""
    kind, seed = job
    chunks = 3 if kind == "chain" else 1
    example = make_example(seed, LATENT_FRAMES * chunks)
    sampling = replace(sampling, seed=seed % 1000 * 10)  # every clip has its own noise
    frames = studio().perform(example["reference"], example["sound"], sampling)
    measure = chain_figures if kind == "chain" else clip_figures
    found = measure(seed, example, frames, studio(), sampling)
    return {"kind": kind, "seed": seed, "frames": frames, "truth": example["frames"].numpy() / 255, **found}


def play_all(clips: int, chains: int, sampling: Sampling) -> list[dict]:
    """Everything on all cores, chains first because they take longest."""
    jobs = [("chain", CHAIN_SEED + i) for i in range(chains)] + [("clip", HELD_OUT_SEED + i) for i in range(clips)]
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count(), len(jobs))) as pool:
        return list(bar(pool.imap(partial(play, sampling=sampling), jobs), "held-out", "clip", total=len(jobs)))


def seconds_for_one_clip(sampling: Sampling) -> float:
    """Sampling and decoding one clip with guidance, alone on all cores."""
    example, models = make_example(HELD_OUT_SEED, LATENT_FRAMES), studio()
    torch.set_num_threads(os.cpu_count())
    started = time.perf_counter()
    models.perform(example["reference"], example["sound"], sampling)
    return time.perf_counter() - started


def column(found: list[dict], name: str) -> numpy.ndarray:
    """One figure of all clips that have it."""
    return numpy.array([row[name] for row in found if row.get(name) is not None], dtype=float)


def clip_rows(clips: list[dict]) -> list[Row]:
    """Acceptance 1 and 2."""
    own = column(clips, "correlation")
    others = numpy.median(with_others([one["mouth"] for one in clips], [one["opening"] for one in clips]))
    return [
        required("mouth correlation, median", numpy.median(own), ">=", 0.85),
        required("mouth correlation, 10th percentile", numpy.quantile(own, 0.1), ">=", 0.6),
        Row("mouth correlation of the rendered clips, median", numpy.median(column(clips, "rendered_correlation"))),
        required("mouth correlation with other clips' sound, median |r|", others, "<=", 0.2),
        required("mouth lag in frames, 90th percentile of |lag|", numpy.quantile(abs(column(clips, "lag_frames")), 0.9),
                 "<=", 1),
        required("mouth movement without sound / with sound", numpy.median(column(clips, "movement_without_sound")),
                 "<=", 0.25),
        required("VAE round trip in dB, mean", column(clips, "vae_psnr_db").mean(), ">=", 30),
        required("human SSIM to the renderer's clip, mean", column(clips, "human_ssim").mean(), ">=", 0.8),
        Row("human SSIM of the VAE round trip, mean", column(clips, "vae_human_ssim").mean()),
        required("flicker of still backgrounds / the renderer's, median", numpy.median(column(clips, "flicker_ratio")),
                 "<=", 1.5),
    ]


def chain_rows(chains: list[dict]) -> list[Row]:
    """Acceptance 3."""
    each = numpy.array([chain["correlations"] for chain in chains])
    rows = [required(f"chunk {number + 1}: mouth correlation, median", numpy.median(each[:, number]), ">=", 0.85)
            for number in range(each.shape[1])]
    return [*rows, Row("seconds of a chain", len(chains[0]["frames"]) / FPS),
            required("identity drift in % of full scale, worst chain", column(chains, "drift_percent").max(), "<", 3),
            Row("change at the seams / at other latents' borders, median", numpy.median(column(chains, "seam_ratio")))]


def write_pictures(folder: Path, found: list[dict]) -> None:
    """contact_sheet.png: true above generated; clip.mp4 and chain.mp4: true beside generated."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = [row for row in found if row["kind"] == "clip"]
    sheet = {f"{row['seed'] - HELD_OUT_SEED}: {name}": row[key] for row in clips[:SHEET_CLIPS]
             for name, key in (("rendered", "truth"), ("generated", "frames"))}
    strip(sheet, count=10).save(folder / "contact_sheet.png")
    for kind in ("clip", "chain"):
        some = [row for row in found if row["kind"] == kind][:4]
        if some:
            both = [numpy.concatenate([row[key] for row in some], axis=2) for key in ("truth", "frames")]
            write_video(folder / f"{kind}.mp4", numpy.concatenate(both, axis=1), FPS)


def tiny(options: argparse.Namespace) -> tuple[list[Row], str]:
    """Rows, and what they are of."""
    sampling = Sampling(options.steps, options.guidance, options.shift)
    clips, chains = (4, 1) if options.quick else (options.clips, options.chains)
    found = play_all(clips, chains, sampling)
    rows = clip_rows([row for row in found if row["kind"] == "clip"])
    if chains:
        rows += chain_rows([row for row in found if row["kind"] == "chain"])
    rows.append(required(f"seconds for {options.steps} steps with guidance on {os.cpu_count()} CPU cores",
                         seconds_for_one_clip(sampling), "<=", 60))
    write_pictures(options.output, found)
    return rows, (f"{clips} held-out clips, {chains} chains, {options.steps} Euler steps, guidance {options.guidance:g}, "
                  f"shift {options.shift:g}; pictures in {options.output}")


JUDGES = {"tiny": tiny, "wild": judged.wild}
DEFAULTS = {"tiny": Sampling(40, 2.0), "wild": Sampling(40, 4.5)}
SAMPLERS = {"tiny": ("euler",), "wild": ("uni_pc", "euler")}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--world", choices=list(JUDGES), default="tiny", help="whose people perform (tiny)")
    parser.add_argument("--clips", type=int, default=CLIPS, help=f"tiny: held-out clips ({CLIPS})")
    parser.add_argument("--chains", type=int, default=CHAINS, help=f"tiny: clips that are extended twice ({CHAINS})")
    parser.add_argument("--pairs", type=int, help=f"wild: held-out clips, of two noises each ({judged.PAIRS})")
    parser.add_argument("--folder", type=Path, default=judged.FOLDER, help="wild: where videos are kept for the next time")
    parser.add_argument("--fresh", action="store_true", help="wild: make the videos again")
    parser.add_argument("--quick", action="store_true", help="4 clips and 1 chain, or 4 pairs")
    parser.add_argument("--steps", type=int, help="(40)")
    parser.add_argument("--guidance", type=float, help="(tiny: 2, wild: 4.5)")
    parser.add_argument("--sampler", choices=("uni_pc", "euler"), help="(tiny: euler, the only one; wild: uni_pc)")
    parser.add_argument("--shift", type=float, default=8.0)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--output", type=Path, default=Path("out/evaluate"), help="folder of the pictures")
    parser.add_argument("--check", action="store_true", help="exit with 1, and say why, where a figure is missed")
    found = parser.parse_args(argv)
    if (found.sampler or SAMPLERS[found.world][0]) not in SAMPLERS[found.world]:
        parser.error(f"--sampler {found.sampler}: the world {found.world} is sampled with {SAMPLERS[found.world][0]} only")
    found.sampler = found.sampler or SAMPLERS[found.world][0]
    found.steps = found.steps or DEFAULTS[found.world].steps
    found.guidance = DEFAULTS[found.world].guidance if found.guidance is None else found.guidance
    found.pairs = found.pairs or (judged.FEW if found.quick else judged.PAIRS)
    return found


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    rows, caption = JUDGES[options.world](options)
    return finish(rows, f"{caption}\n{CAVEAT}", options)


if __name__ == "__main__":
    sys.exit(main())
