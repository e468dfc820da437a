"""Train the Tiny Talker: `python -m demo.train {data,vae,decoder,latents,dit,export}`; every part resumes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from .dataset import make_dataset
from .latents import prepare_latents
from .modelling import open_host
from .progress import join_workers

WORK = Path(os.environ.get("TINY_TALKER_WORK", Path.home() / ".cache" / "tiny_talker"))


def report(line: str) -> None:
    print(line, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("data", "vae", "decoder", "latents", "dit", "export"))
    parser.add_argument("--clips", type=int, default=1200, help="size of the training set")
    parser.add_argument("--minutes", type=float, default=25, help="time budget of this part")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="each uses one thread")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the data set and checkpoints")
    return parser.parse_args()


def silent(line: str) -> None:
    """Only the first process reports."""


def train(number: int, options: argparse.Namespace) -> None:
    """One training process of a part; the processes share the gradients."""
    torch.set_num_threads(1 if options.processes > 1 else os.cpu_count())
    join_workers(number, options.processes, options.work)
    open_host()
    say, seconds = (silent if number else report), options.minutes * 60
    if options.part in ("vae", "decoder"):
        from .train_vae import train_decoder, train_vae

        (train_vae if options.part == "vae" else train_decoder)(options.work, seconds, say)
    else:
        from .train_dit import train_dit

        train_dit(options.work, seconds, say)


def main() -> None:
    options = parse()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.part == "export":
        open_host()
        from .train_dit import export_dit

        export_dit(options.work)
        return
    if options.part == "data":
        make_dataset(options.work / "clips", options.clips, options.processes)
    if options.part == "latents":
        prepare_latents(options.work / "clips", options.work / "latents", options.processes)
    if options.part in ("vae", "decoder", "dit"):
        (options.work / "meeting").unlink(missing_ok=True)
        torch.multiprocessing.spawn(train, (options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
