"""Encoding the training set once with the finished VAE, on all cores, in pieces a training run can follow."""

from __future__ import annotations

import multiprocessing
import os
from functools import lru_cache
from pathlib import Path

import torch

from .flat import flatten_time
from .modelling import build_vae, load_weights, open_host
from .talker import VAE_FILE
from .train_vae import channels_last, encode_all

CHUNK = 20


@lru_cache(maxsize=1)
def encoder(clips: Path) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The VAE and the data set of one worker process."""
    torch.set_num_threads(1)
    open_host()
    model = flatten_time(load_weights(channels_last(build_vae()), VAE_FILE)).requires_grad_(False)
    return model, torch.load(clips, mmap=True)


def encode_chunk(job: tuple[Path, Path, int]) -> None:
    """Write the latents of CHUNK clips and of their references, in the units the DiT sees."""
    clips, folder, start = job
    path = folder / f"{start:06d}.pt"
    if path.exists():
        return
    model, data = encoder(clips)
    from comfy.latent_formats import Wan21

    scale, part = Wan21().process_in, slice(start, start + CHUNK)
    video = encode_all(model, data["frames"][part], 4)
    reference = encode_all(model, data["reference"][part, None], CHUNK)
    torch.save({"video": scale(video), "reference": scale(reference), "sound": data["sound"][part].clone()},
               path.with_suffix(".partial"))
    os.replace(path.with_suffix(".partial"), path)


def prepare_latents(clips: Path, folder: Path, workers: int) -> None:
    """Encode what is not encoded yet into one file per CHUNK clips."""
    folder.mkdir(exist_ok=True)
    count = len(torch.load(clips, mmap=True)["frames"])
    jobs = [(clips, folder, start) for start in range(0, count, CHUNK)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(encode_chunk, jobs, chunksize=1)


def load_latents(folder: Path) -> dict[str, torch.Tensor]:
    """What is encoded so far: video [N, 16, T, 8, 8], reference [N, 16, 1, 8, 8] and sound [N, A, D]."""
    chunks = [torch.load(path) for path in sorted(folder.glob("*.pt"))]
    if not chunks:
        raise FileNotFoundError(f"no latents in {folder}: run `python -m demo.train latents` first")
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
