"""The training set: rendered people whose mouths follow synthetic speech, all from seeds."""

from __future__ import annotations

import multiprocessing
import os
from functools import lru_cache, partial
from pathlib import Path

import numpy
import torch

from ..features import audio_features, mouth_opening_curve, window
from ..portraits import HELD_OUT_SEED, Clip, render_clip, render_pair, render_portrait
from ..speech import speech
from ..talker import SIZE

LATENTS = 18  # two chunks of nine: the second learns to continue the first
CHUNK = 20
CLIPS_PER_SPEECH = 4
SILENT_SHARE = 0.12
POSED_SHARE = 0.75
PAIR_EVERY = 16


@lru_cache(maxsize=2)
def speech_features(seed: int) -> torch.Tensor:
    """Features [T50, D] of the whole speech of a seed."""
    return audio_features(*speech(seed))


def draw_sound(seed: int, latents: int = LATENTS) -> torch.Tensor:
    """The windowed features [4 * latents, D] a clip hears: some stretch of speech, or silence."""
    rng = numpy.random.default_rng([seed, 5])
    features = speech_features(seed // CLIPS_PER_SPEECH if seed < HELD_OUT_SEED else seed)
    last = int(features.shape[0] * 16 / 50) - 4 * latents
    heard = window(features, 4 * latents, int(rng.integers(0, max(1, last))))
    return heard * 0.0 if rng.random() < SILENT_SHARE and seed < HELD_OUT_SEED else heard


def draw_reference(seed: int) -> numpy.ndarray:
    """The picture [H, W, 3] given as portrait: mostly posed with closed lips, sometimes mid-speech."""
    rng = numpy.random.default_rng([seed, 6])
    if rng.random() < POSED_SHARE or seed >= HELD_OUT_SEED:
        return render_portrait(seed, SIZE)
    return render_clip(seed, rng.random(2) ** 2, SIZE, motion_seed=seed + 1).frames[1]


def is_pair(seed: int) -> bool:
    """Whether a training clip shows two people; the VAE learns from those, the diffusion model does not."""
    return seed < HELD_OUT_SEED and seed % PAIR_EVERY == PAIR_EVERY - 1


def draw_clip(seed: int, opening: numpy.ndarray, backdrop: str | None = None) -> Clip:
    """One person, or two of whom the first speaks."""
    if is_pair(seed):
        return render_pair((seed, seed + 1), numpy.stack([opening, numpy.roll(opening, 16)]), SIZE, backdrop)
    return render_clip(seed, opening, SIZE, backdrop=backdrop)


def make_example(seed: int, latents: int = LATENTS, backdrop: str | None = None) -> dict[str, torch.Tensor]:
    """One clip: frames [F,H,W,3] and reference [H,W,3] as uint8, mask [F,H,W] uint8, sound [A,D], opening [F]."""
    torch.set_num_threads(1)
    sound = draw_sound(seed, latents)
    opening = mouth_opening_curve(sound)[: 4 * latents - 3]
    clip = draw_clip(seed, opening.numpy(), backdrop)
    pictures = {"frames": clip.frames, "reference": draw_reference(seed), "mask": clip.human_mask}
    whole = {name: torch.from_numpy((array * 255).round().astype("uint8")) for name, array in pictures.items()}
    return whole | {"sound": sound, "opening": opening, "pair": torch.tensor(is_pair(seed))}


def stacked(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Examples -> one tensor per name."""
    return {name: torch.stack([example[name] for example in examples]) for name in examples[0]}


def save_whole(content: object, path: Path) -> None:
    """Write a file so that it is either there in full or not there."""
    partial_file = path.with_suffix(f".partial{os.getpid()}")
    torch.save(content, partial_file)
    os.replace(partial_file, path)


def make_chunk(folder: Path, start: int) -> None:
    """Render CHUNK clips into a file, unless it is there."""
    path = folder / f"{start:06d}.pt"
    if not path.exists():
        save_whole(stacked([make_example(seed) for seed in range(start, start + CHUNK)]), path)


def make_dataset(folder: Path, count: int, workers: int = 2) -> None:
    """Render `count` clips on all workers, CHUNK to a file, so that training can start with the first ones."""
    folder.mkdir(exist_ok=True, parents=True)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(partial(make_chunk, folder), range(0, count, CHUNK), chunksize=1)


def load_clips(folder: Path) -> list[dict[str, torch.Tensor]]:
    """The chunks rendered so far, mapped into memory."""
    chunks = [torch.load(path, mmap=True) for path in sorted(folder.glob("*.pt"))]
    if not chunks:
        raise FileNotFoundError(f"no clips in {folder}: run `python -m demo.training.train data` first")
    return chunks


def as_video(frames: torch.Tensor) -> torch.Tensor:
    """uint8 [..., F, H, W, 3] -> float [..., 3, F, H, W] in -1..1, the VAE's input."""
    return frames.movedim(-1, -4).float() / 127.5 - 1
