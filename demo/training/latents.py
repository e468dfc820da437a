"""Encoding the training set once with the finished VAE, on all cores, in pieces a training run can follow."""

from __future__ import annotations

import multiprocessing
from functools import lru_cache
from pathlib import Path

import torch

from ..talker import VAE_FILE
from .dataset import CHUNK, save_whole
from .flat import flatten_time
from .modelling import build_vae, load_weights, open_host, trained
from .progress import device
from .train_vae import channels_last, encode_all

ENCODED_AT_ONCE = 2


@lru_cache(maxsize=1)
def encoder(weights: Path) -> torch.nn.Module:
    """The VAE of one worker process."""
    torch.set_num_threads(1)
    open_host()
    return flatten_time(load_weights(channels_last(build_vae()), weights)).requires_grad_(False).to(device())


def encode_chunk(job: tuple[Path, Path, Path]) -> None:
    """Write the latents of a chunk's single speakers and of their references, in the units the DiT sees."""
    clips, path, weights = job
    if path.exists() and path.stat().st_mtime > weights.stat().st_mtime:
        return
    model, data = encoder(weights), torch.load(clips, mmap=True)
    from comfy.latent_formats import Wan21

    scale, single = Wan21().process_in, ~data["pair"]
    video = encode_all(model, data["frames"][single], ENCODED_AT_ONCE)
    reference = encode_all(model, data["reference"][single][:, None], CHUNK)
    save_whole({"video": scale(video), "reference": scale(reference), "sound": data["sound"][single].clone()}, path)


def prepare_latents(clips: Path, folder: Path, workers: int) -> None:
    """Encode what these weights of the VAE have not encoded yet, into one file per chunk of clips."""
    folder.mkdir(exist_ok=True)
    weights = trained(folder.parent, VAE_FILE)
    jobs = [(path, folder / path.name, weights) for path in sorted(clips.glob("*.pt"))]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(encode_chunk, jobs, chunksize=1)


def load_latents(folder: Path) -> dict[str, torch.Tensor]:
    """What is encoded so far: video [N, 16, T, h, w], reference [N, 16, 1, h, w] and sound [N, A, D]."""
    chunks = [torch.load(path) for path in sorted(folder.glob("*.pt"))]
    if not chunks:
        raise FileNotFoundError(f"no latents in {folder}: run `python -m demo.training.train latents` first")
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
