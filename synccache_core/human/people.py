"""Who is who in the frames of a clip: faces join people, people keep a number and a weight, short gaps are bridged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..errors import BadMask
from ..files.checked import shown
from .mask import resized

SAME = 0.2  # overlap, as intersection over union, that makes two masks one person
STILL = 0.5  # the same for a mask of which the detector is less sure
WITHIN = 0.5  # share of a face that lies inside a person
THERE = 0.5  # a mask that reaches this nowhere shows nobody


class Found(NamedTuple):
    """Who is in one frame: masks [N, h, w], N may be 0, and sure [N], whether the detector is as confident as was asked.

    The others only keep somebody in view who was already followed, as in ByteTrack (Zhang et al. 2022): a detector's
    confidence in one person goes up and down from frame to frame.
    """

    masks: torch.Tensor
    sure: torch.Tensor


def certain(masks: torch.Tensor) -> Found:
    """Masks [N, h, w] that all count."""
    return Found(masks, torch.ones(len(masks), dtype=torch.bool))


def parse_weights(text: str) -> tuple[float, ...]:
    """ "1, 0.3" -> (1.0, 0.3); empty is (1.0,). Raises BadMask for anything but numbers in 0..1."""
    parts = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
    try:
        weights = tuple(float(part) for part in parts[:100]) or (1.0,)
    except ValueError:
        weights = (-1.0,)
    if not all(0.0 <= weight <= 1.0 for weight in weights):
        raise BadMask(f'person_weights must be numbers in 0..1 such as "1, 0.3", got {shown(text)}')
    return weights


def ellipses(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Boxes [N, 4] as x0, y0, x1, y1 in pixels -> [N, height, width]: the ellipse in each, soft over its outer fifth."""
    y = torch.arange(height)[None, :, None] + 0.5
    x = torch.arange(width)[None, None, :] + 0.5
    x0, y0, x1, y1 = (edge[:, None, None].float() for edge in boxes.unbind(-1))
    away = (((x - (x0 + x1) / 2) / ((x1 - x0) / 2).clamp(min=0.5)) ** 2
            + ((y - (y0 + y1) / 2) / ((y1 - y0) / 2).clamp(min=0.5)) ** 2).sqrt()  # fmt: skip
    return ((1.1 - away) / 0.2).clamp(0.0, 1.0)


def with_faces(people: Found, faces: Found) -> Found:
    """People [N, h, w] and faces [M, h2, w2] -> people [N+n, h, w]: a sure face makes sure whom it lies in, or is new."""
    if not faces.sure.any():
        return people
    masks, sure = people.masks.clone(), people.sure.clone()
    for face in resized(faces.masks[faces.sure], *masks.shape[1:]):
        shared = torch.minimum(masks, face).sum(dim=(1, 2)) / face.sum().clamp(min=1e-6)
        best = int(shared.argmax()) if len(masks) else None
        if best is not None and shared[best] >= WITHIN:
            masks[best], sure[best] = torch.maximum(masks[best], face), True
        else:
            masks, sure = torch.cat([masks, face[None]]), torch.cat([sure, torch.ones(1, dtype=torch.bool)])
    return Found(masks, sure)


@dataclass
class Person:
    """Somebody in the current shot. number: from the left in the shot's first frame with people, newcomers after."""

    number: int
    mask: torch.Tensor
    missed: int = 0


class Tracker:
    """Follows people through the frames of a clip, in order; everything is forgotten at a camera cut.

    weights: of person 1, 2, ..., the last one for all others. hold: frames for which a person who is no longer found
    keeps the last mask.
    """

    def __init__(self, weights: Sequence[float] = (1.0,), hold: int = 8):
        self.weights, self.hold = tuple(weights), hold
        self.people: list[Person] = []
        self.seen = 0

    def follow(self, found: Found, cut: bool = False) -> torch.Tensor | None:
        """Those of one frame -> their weighted union [h, w], with those that are held; None for nobody."""
        if cut:
            self.people, self.seen = [], 0
        there = found.masks.flatten(1).ge(THERE).any(dim=1)
        for person in self.people:
            person.missed += 1
        self._recognise(Found(found.masks[there], found.sure[there]))
        self.people = [person for person in self.people if person.missed <= self.hold]
        if not self.people:
            return None
        last = len(self.weights)
        weighted = [person.mask * self.weights[min(person.number, last) - 1] for person in self.people]
        return torch.stack(weighted).amax(dim=0)

    def _recognise(self, found: Found) -> None:
        """Sure ones first, then the most alike pair; who is sure and like nobody gets the next number, from the left."""
        masks, sure = found.masks, found.sure.tolist()
        left, pairs = set(range(len(masks))), []
        for person in self.people:
            pairs += [(sure[index], _alike(person.mask, mask), person, index) for index, mask in enumerate(masks)]
        for is_sure, alike, person, index in sorted(pairs, key=lambda pair: pair[:2], reverse=True):
            if alike >= (SAME if is_sure else STILL) and index in left and person.missed:
                left.remove(index)
                person.mask, person.missed = masks[index], 0
        for index in sorted((i for i in left if sure[i]), key=lambda index: _middle(masks[index])):
            self.seen += 1
            self.people.append(Person(self.seen, masks[index]))


def _alike(one: torch.Tensor, other: torch.Tensor) -> float:
    """Intersection over union of two soft masks."""
    return float(torch.minimum(one, other).sum() / torch.maximum(one, other).sum().clamp(min=1e-6))


def _middle(mask: torch.Tensor) -> float:
    """Horizontal centre of gravity in pixels."""
    columns = mask.sum(dim=0)
    return float((columns * torch.arange(len(columns))).sum() / columns.sum())
