"""An endless supply of training clips, rendered where they are needed, all from seeds."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from ..portraits import HELD_OUT_SEED
from .cast import draw_person
from .sound import Bank
from .talker import FRAMES, LATENTS
from .world import is_pair, perform, portraits

TRAITS = ("skin", "hair", "clothes", "trim", "glasses", "beard")


def traits_of(seed: int, pair: bool) -> numpy.ndarray:
    """What tells people apart, as numbers [2, 14]; zeros where there is nobody."""
    found = numpy.zeros((2, 14), numpy.float32)
    for who in range(1 + pair):
        person = draw_person(seed, who)
        found[who] = numpy.concatenate([numpy.atleast_1d(person[name]) for name in TRAITS])
    return found


def to_two(pose: Tensor) -> Tensor:
    """Pose [B, K, F, P] of one or two speakers -> [B, 2, F, P], zeros where there is nobody."""
    return pose if pose.shape[1] == 2 else torch.cat([pose, torch.zeros_like(pose)], 1)


def per_latent(mouths: Tensor) -> Tensor:
    """Cells with a mouth per frame [B, 4k - 3, h, w] -> per latent [B, k, h, w]."""
    return torch.cat([mouths[:, :1], mouths[:, 1:].unflatten(1, (-1, 4)).any(2)], 1)


def clips_of(seeds: list[int], pair: bool, bank: Bank, device: torch.device) -> dict[str, Tensor]:
    """Clips of casts that are all pairs or all single.

    frames [B, 3, F, H, W], reference [B, 3, H, W] and sound [B, A, D] as bytes, mouths bool [B, latents, h, w],
    pose [B, 2, F, P], pair bool [B], traits [B, 2, 14].
    """
    heard, seen = zip(*(bank.draw(seed, 4 * LATENTS) for seed in seeds))
    clips = perform(seeds, seeds, numpy.stack(seen)[:, :FRAMES].astype(numpy.float32), pair, device=device)
    return {"frames": clips.frames, "reference": portraits(seeds, pair, device=device),
            "sound": torch.from_numpy(numpy.stack(heard)).to(device), "mouths": per_latent(clips.mouths),
            "pose": to_two(clips.pose), "pair": torch.full((len(seeds),), pair, device=device),
            "traits": torch.from_numpy(numpy.stack([traits_of(seed, pair) for seed in seeds])).to(device)}


class Source:
    """Hands out batches of clips that nobody has seen; batches of pairs between batches of single speakers."""

    def __init__(self, bank: Bank, device: torch.device, count: int, first: int = 0):
        self.bank, self.device, self.count = bank, device, count
        self.next = {False: first, True: first}
        self.made = 0

    def seeds(self, pair: bool, count: int) -> list[int]:
        """The next seeds with such a cast."""
        found = []
        while len(found) < count:
            seed = self.next[pair] % HELD_OUT_SEED
            self.next[pair] += 1
            if is_pair(seed) == pair:
                found.append(seed)
        return found

    def batch(self) -> dict[str, Tensor]:
        """`count` clips: three batches of pairs in ten."""
        pair = self.made % 10 in (2, 5, 8)
        self.made += 1
        return clips_of(self.seeds(pair, self.count), pair, self.bank, self.device)


class Pool:
    """Tensors of up to `room` clips on the device; when it is full, new clips replace the oldest."""

    def __init__(self, room: int):
        self.room, self.count, self.at, self.data = room, 0, 0, {}

    def add(self, clips: dict[str, Tensor]) -> None:
        """Keep a batch."""
        for name, value in clips.items():
            if name not in self.data:
                self.data[name] = torch.empty(self.room, *value.shape[1:], dtype=value.dtype, device=value.device)
        size = len(next(iter(clips.values())))
        places = [(self.at + number) % self.room for number in range(size)]
        for name, value in clips.items():
            self.data[name][places] = value
        self.at = (self.at + size) % self.room
        self.count = min(self.room, self.count + size)

    def pick(self, size: int) -> Tensor:
        """Random places [size] of kept clips."""
        device = next(iter(self.data.values())).device
        return torch.randint(self.count, (size,), device=device)
