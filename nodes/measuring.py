"""Looks at two or three videos, frame by frame, so that long ones need no memory of their own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..synccache_core.compare.findings import Mouths
from ..synccache_core.compare.likeness import Comparison, luma
from ..synccache_core.compare.lips import darkness
from ..synccache_core.errors import BadVideo
from ..synccache_core.human import mask as geometry
from ..synccache_core.sentences import say
from ..synccache_core.units import counted
from . import faces

PIECE = 4  # frames at a time
SMALL = 64  # px, of a mouth's box where its darkness is looked at
BY_FACES = say("MediaPipe's face landmarks")
BY_MASK = say("how dark the lower middle of the mask is")
BY_FRAME = say("how dark the lower middle of the frame is")
NAMES = {"plain": say("plain"), "accelerated": say("accelerated"), "second_noise": say("second noise")}
GUESS = say(
    "the mouth is a guess, the strip shows what was taken for it: a mask of the face makes it better, and MediaPipe finds "
    "it where a face is large enough"
)
MIDDLE = (0.25, 0.75)  # of the width; mouths are not at the sides
LOWER = (0.5, 0.9)  # of the frame's height


@dataclass(frozen=True)
class Videos:
    """IMAGE batches of one shape, see `check`. mask: [1 or F, h, w] in 0..1."""

    plain: torch.Tensor
    accelerated: torch.Tensor
    second: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.plain.shape[1:3])

    def named(self) -> dict[str, torch.Tensor]:
        known = {"plain": self.plain, "accelerated": self.accelerated, "second_noise": self.second}
        return {name: video for name, video in known.items() if video is not None}


@dataclass(frozen=True)
class Where:
    """The mouth. boxes: whole pixels y0, y1, x0, x1, of every frame. openings: by name of the video, {} = by darkness."""

    by: str
    boxes: np.ndarray
    openings: dict[str, np.ndarray]


def check(videos: Videos) -> Videos:
    """Raises BadVideo, which names both, and BadMask."""
    for name, video in videos.named().items():
        if video.ndim != 4 or video.numel() == 0 or video.shape[-1] not in (1, 3, 4):
            raise BadVideo(f"{name} must be an IMAGE [F, H, W, C] with 1, 3 or 4 channels, got shape {list(video.shape)}")
        if video.shape[:3] != videos.plain.shape[:3]:
            both = f"plain has {shape(videos.plain)}, {name} has {shape(video)}"
            raise BadVideo(f"{both}: only videos of one length and size can be compared")
    if videos.mask is not None:
        geometry.on_frames(videos.mask, len(videos.plain))
    return videos


def shape(video: torch.Tensor) -> str:
    return f"{counted(len(video), 'frame')} of {video.shape[2]}×{video.shape[1]}"


def pieces(name: str, video: torch.Tensor, size: int = PIECE) -> Iterator[torch.Tensor]:
    """RGB [n, H, W, 3] in 0..1 on the CPU, a few frames at a time. Raises BadVideo for NaN and infinite values."""
    for start in range(0, len(video), size):
        part = video[start : start + size, ..., :3].detach().to("cpu", torch.float32).expand(-1, -1, -1, 3)
        low, high = (float(value) for value in part.aminmax())
        if not np.isfinite(low + high):
            raise BadVideo(f"{name} holds NaN or infinite values in frame {start} or the {len(part) - 1} after it")
        yield part if low >= 0.0 and high <= 1.0 else part.clamp(0.0, 1.0)


def frame(videos: Videos, name: str, number: int) -> np.ndarray:
    """One frame [H, W, 3]."""
    return next(pieces(name, videos.named()[name][number : number + 1])).numpy()[0]


def mouth_of(videos: Videos, watch: Callable[[], None]) -> tuple[Where, list[str]]:
    """Where the mouth is, and what to say about it."""
    seen = {}
    for name, video in videos.named().items():
        one_by_one = (part[0] for part in pieces(name, video, 1))
        seen[name] = faces.mouths(one_by_one, videos.size, watch)
        if seen[name] is None:
            break
    else:
        lost = {name: len(video) - seen[name].found for name, video in videos.named().items()}
        notes = [
            say("no face in {count} frames of {name}: taken from those beside", count=count, name=NAMES[name])
            for name, count in lost.items() if count
        ]  # fmt: skip
        return Where(BY_FACES, seen["plain"].boxes, {name: found.opening for name, found in seen.items()}), notes
    lost = say("MediaPipe finds no face in most frames of {name}", name=NAMES[list(seen)[-1]])
    notes = [lost, GUESS] if faces.version() else [GUESS]
    box = None if videos.mask is None else mask_box(videos.mask, videos.size)
    where = BY_FRAME if box is None else BY_MASK
    return Where(where, np.tile(frame_box(*videos.size) if box is None else box, (len(videos.plain), 1)), {}), notes


def mask_box(mask: torch.Tensor, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The lower half and the middle of where a mask ever is; None where it is nowhere."""
    ever = geometry.resized(mask.amax(0, keepdim=True), *size)[0] > 0.5
    down, right = ever.any(1).nonzero()[:, 0].tolist(), ever.any(0).nonzero()[:, 0].tolist()
    if not down:
        return None
    (y0, y1), (x0, x1) = (down[0], down[-1] + 1), (right[0], right[-1] + 1)
    return *within(y0, y1, 0.5, 1.0), *within(x0, x1, *MIDDLE)


def frame_box(height: int, width: int) -> tuple[int, int, int, int]:
    return *within(0, height, *LOWER), *within(0, width, *MIDDLE)


def within(low: int, high: int, start: float, end: float) -> tuple[int, int]:
    """A part of a range, at least one pixel."""
    first = min(round(low + start * (high - low)), high - 1)
    return first, max(round(low + end * (high - low)), first + 1)


class Look:
    """What is seen while the frames go by."""

    def __init__(self, videos: Videos, where: Where):
        self.videos, self.where = videos, where
        self.accelerated, self.second = Comparison(), Comparison() if videos.second is not None else None
        self._dark: dict[str, list[torch.Tensor]] = {name: [] for name in videos.named()}

    def run(self, watch: Callable[[int], None]) -> "Look":
        """watch(frames that are done)."""
        named, at = self.videos.named(), 0
        for parts in zip(*(pieces(name, video) for name, video in named.items())):
            regions = self._regions(at, len(parts[0]))
            self.accelerated.add(parts[0], parts[1], regions)
            if self.second is not None:
                self.second.add(parts[0], parts[2], regions)
            if not self.where.openings:
                for name, part in zip(named, parts):
                    self._dark[name].append(self._mouths(part))
            at += len(parts[0])
            watch(at)
        return self

    def mouths(self, loudness: np.ndarray | None) -> Mouths:
        curves = self.where.openings or {n: darkness(torch.cat(parts).numpy()) for n, parts in self._dark.items()}
        return Mouths(self.where.by, curves["plain"], curves["accelerated"], curves.get("second_noise"), loudness)

    def _regions(self, start: int, count: int) -> dict[str, torch.Tensor | None]:
        height, width = self.videos.size
        mouth = torch.zeros(count, height, width, dtype=torch.bool)
        for inside, (y0, y1, x0, x1) in zip(mouth, self.where.boxes[start : start + count]):
            inside[y0:y1, x0:x1] = True
        found = {"whole": None, "mouth": mouth}
        if self.videos.mask is not None:
            part = geometry.on_frames(self.videos.mask, len(self.videos.plain))[start : start + count]
            human = geometry.resized(part, height, width) > 0.5
            found = {"whole": None, "human": human, "mouth": mouth, "background": ~human}
        return found

    def _mouths(self, part: torch.Tensor) -> torch.Tensor:
        """Luma [n, h, w] around the mouth, which is in one place."""
        y0, y1, x0, x1 = self.where.boxes[0]
        grey = luma(part[:, y0:y1, x0:x1])
        return F.adaptive_avg_pool2d(grey[:, None], tuple(min(side, SMALL) for side in grey.shape[-2:]))[:, 0]
