"""What a video of the wild world is like by itself: figures that mean something when it is another performance.

Pictures count as they would be shown, in 8 bit. Where heads are and what a cast looks like is read by the measuring net,
whose own errors `demo.evaluate` states beside; gradients, flicker and colours are measured in the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy
from torch import Tensor

from synccache_core.compare.likeness import LUMA

from . import seen
from .world import POSE

TRACKS = ("x", "y", "tilt", "yaw")  # of a head
PATCHES = {  # drawing units from the middle of the head: across, down, half sizes; and whether it tilts with the head
    "face": (0.0, 0.15, 0.30, 0.30, True), "hair": (0.0, -0.60, 0.20, 0.10, True), "clothes": (0.0, 1.12, 0.55, 0.17, False),
}


@dataclass(frozen=True)
class Look:
    """mouth [F]: opening as seen. features [F, D]: the net's last. human bool [F, H, W]. poses [K, F, len(POSE)]. colours
    [K, patches, 3] and traits [K, 14]: of the whole video. crowd: the share of frames in which as many people are seen as
    there should be."""

    mouth: numpy.ndarray
    features: numpy.ndarray
    human: numpy.ndarray
    poses: numpy.ndarray
    colours: numpy.ndarray
    traits: numpy.ndarray
    crowd: float
    sharpness: float
    flicker: float

    @property
    def heads(self) -> numpy.ndarray:
        """[K, F, len(TRACKS)]."""
        return self.poses[..., [POSE.index(name) for name in TRACKS]]


def look_at(frames: numpy.ndarray, people: int) -> Look:
    """Everything about frames [F, H, W, 3] in 0..1 whose portrait shows so many people."""
    found, size = seen.read(frames), frames.shape[1]
    cast, everyone = found.pose[:, :people].transpose(0, 1), seen.there(found)
    colours = numpy.stack([patch_colours(frames, pose) for pose in cast])
    crowd = ((found.present > seen.PRESENT).sum(1) == people).float().mean().item()
    return Look(seen.open_most(everyone), found.features.numpy(), seen.people(everyone, size), cast.numpy(), colours,
                found.traits[:, :people].mean(0).numpy(), crowd, sharpness(frames), flicker(frames))


def sharpness(frames: numpy.ndarray) -> float:
    """Mean squared difference of neighbouring pixels' luma, across and down: gradient energy."""
    luma = frames @ LUMA
    return float(sum(numpy.square(numpy.diff(luma, axis=axis)).mean() for axis in (1, 2)))


def flicker(frames: numpy.ndarray) -> float:
    """Mean absolute second difference in time: none where a picture stands or changes steadily."""
    return float(numpy.abs(numpy.diff(frames, 2, axis=0)).mean()) if len(frames) > 2 else 0.0


def ranges(heads: numpy.ndarray) -> numpy.ndarray:
    """Heads [K, F, tracks] -> standard deviation of every track over the frames [tracks], the mean over people."""
    return heads.std(1).mean(0)


def shaking(heads: numpy.ndarray) -> numpy.ndarray:
    """Heads [K, F, tracks] -> root mean square of the second differences of every track [tracks]: 0 is the smoothest."""
    return numpy.sqrt(numpy.square(numpy.diff(heads, 2, axis=1)).mean(1)).mean(0)


def patch_colours(frames: numpy.ndarray, pose: Tensor) -> numpy.ndarray:
    """Frames [F, H, W, 3] and one person's pose [F, len(POSE)] -> the colour [patches, 3] of face, hair and clothes: the
    median over frames of each frame's median, so that features of a face and passing hands do not count."""
    size, colours = frames.shape[1], []
    for x, y, width, height, tilts in PATCHES.values():
        across, down = seen.of_head(pose, size) if tilts else seen.of_body(pose, size)
        inside = (((across - x) / width).square() + ((down - y) / height).square() < 1).numpy()
        every = [numpy.median(frame[where], axis=0) for frame, where in zip(frames, inside) if where.any()]
        colours.append(numpy.median(every, axis=0) if every else numpy.full(3, numpy.nan))
    return numpy.stack(colours)


def drift(look: Look, portrait: Look) -> float:
    """Identity: how far face, hair and clothes are from the portrait's colours, in % of full scale, the mean over patches
    and people. Light that moves counts, too: see the renderer's own figure."""
    return float(100 * numpy.nanmean(numpy.abs(look.colours - portrait.colours)))


def recast(look: Look, portrait: Look) -> float:
    """The same of what the net reads of the cast (colours of skin, hair and clothes without the light, glasses, beard)."""
    return float(100 * numpy.abs(look.traits - portrait.traits).mean())


def frechet(first: numpy.ndarray, second: numpy.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians that fit features [N, D] and [M, D] (Heusel et al. 2017):
    |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2).

    Features: the measuring net's last hidden layer, frame by frame. They know this world only, were learned to tell poses,
    mouths, colours, glasses and beards, and see neither motion nor what serves none of that, textures say. Frames of one
    video are alike, so that few videos make a noisy distance that is never 0: compare it with the renderer's own, from as
    many other videos of the same casts and sounds.
    """
    (here, spread), (there, other) = ((each.mean(0), numpy.cov(each, rowvar=False).reshape(each.shape[1], -1))
                                      for each in (first.astype(float), second.astype(float)))
    values, vectors = numpy.linalg.eigh(spread)
    root = vectors * numpy.sqrt(values.clip(0)) @ vectors.T
    shared = numpy.sqrt(numpy.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    return float(numpy.square(here - there).sum() + numpy.trace(spread) + numpy.trace(other) - 2 * shared)
