"""Train the Tiny Talker: `python -m demo.training.train {data,vae,latents,dit,export}`; every part resumes.

Weights stay in the work folder until `export` replaces the shipped ones by them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from pathlib import Path

import torch

from ..console import say
from ..talker import DIT_FILE, VAE_FILE
from .dataset import make_dataset
from .latents import prepare_latents
from .modelling import open_host, ship
from .progress import join_workers

WORK = Path(os.environ.get("TINY_TALKER_WORK", Path.home() / ".cache" / "tiny_talker"))


VAE_TARGET_DB = 30.0
ROWS = 10


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.training.train", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("data", "vae", "latents", "dit", "export"))
    parser.add_argument("--clips", type=int, default=1200, help="size of the training set")
    parser.add_argument("--minutes", type=float, default=25, help="time budget of this part, what is spent included")
    parser.add_argument("--processes", type=int, default=1 if torch.cuda.is_available() else os.cpu_count(),
                        help="each uses one thread; one where there is a GPU")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the data set and checkpoints")
    parser.add_argument("--quick", action="store_true", help="40 clips and one minute, to see that it runs")
    parser.add_argument("--json", type=Path, help="write the printed rows to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where the VAE stays below 30 dB")
    options = parser.parse_args()
    if options.quick:
        options.clips, options.minutes = 40, 1
    return options


def silent(line: str) -> None:
    """Only the first process reports."""


def train(number: int, options: argparse.Namespace) -> None:
    """One training process of a part; the processes share the gradients."""
    torch.set_num_threads(1 if options.processes > 1 else os.cpu_count())
    join_workers(number, options.processes, options.work)
    open_host()
    report, seconds = (silent if number else say), options.minutes * 60
    if options.part == "dit":
        from .train_dit import train_dit

        train_dit(options.work, seconds, report)
    else:
        from .train_vae import train_vae

        train_vae(options.work, seconds, report)


def curve(path: Path) -> list[dict[str, float]]:
    """The training curve as ROWS lines: means over equal stretches of it."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items() if name in ("step", "seconds", "loss", "psnr")}
                for row in csv.DictReader(file)]
    stretches = (rows[len(rows) * i // ROWS : len(rows) * (i + 1) // ROWS] for i in range(ROWS))
    means = ({name: sum(row[name] for row in part) / len(part) for name in part[0]} for part in stretches if part)
    return [{"step": round(row["step"]), "seconds": round(row["seconds"]), "loss": round(row["loss"], 4),
             **({"psnr_db": round(row["psnr"], 2)} if "psnr" in row else {})} for row in means]


def show(options: argparse.Namespace) -> int:
    """Print the curve of a part; 1 if it was to be checked and falls short."""
    rows = curve(options.work / f"{options.part}_curve.csv")
    say("".join(f"{name:>12}" for name in rows[0]))
    for row in rows:
        say("".join(f"{value:>12}" for value in row.values()))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    short = options.check and rows[-1].get("psnr_db", VAE_TARGET_DB) < VAE_TARGET_DB
    if short:
        say(f"missed: psnr_db is {rows[-1]['psnr_db']}, required >= {VAE_TARGET_DB:g}")
    return int(short)


def main() -> int:
    options = parse()
    # Processes started from here on keep the memory they free: giving back what every step needs again costs a third.
    os.environ.update({"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8000000000", "OMP_WAIT_POLICY": "PASSIVE"})
    options.work.mkdir(parents=True, exist_ok=True)
    if options.part == "export":
        for asset in ship(options.work, (VAE_FILE, DIT_FILE)):
            say(f"replaced {asset.name}")
    if options.part == "data":
        make_dataset(options.work / "clips", options.clips, options.processes)
    if options.part == "latents":
        prepare_latents(options.work / "clips", options.work / "latents", options.processes)
    if options.part not in ("vae", "dit"):
        return 0
    (options.work / "meeting").unlink(missing_ok=True)
    torch.multiprocessing.spawn(train, (options,), nprocs=options.processes)
    return show(options)


if __name__ == "__main__":
    sys.exit(main())
