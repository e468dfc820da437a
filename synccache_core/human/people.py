"""Who is who in the frames of a clip: faces join people, people keep a number and a weight, short gaps are bridged."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import BadMask
from ..files.checked import shown
from .mask import resized

SAME = 0.2  # overlap, as intersection over union, that makes two masks one person
WITHIN = 0.5  # share of a face that lies inside a person
THERE = 0.5  # a mask that reaches this nowhere shows nobody


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


def with_faces(people: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """People [N, h, w], N may be 0, and faces [M, h2, w2] -> people [N+n, h, w]: a face joins whom it lies in, or is new."""
    if not len(faces):
        return people
    faces = resized(faces, *people.shape[1:])
    if not len(people):
        return faces
    people = people.clone()
    for face in faces:
        shared = torch.minimum(people, face).sum(dim=(1, 2)) / face.sum().clamp(min=1e-6)
        best = int(shared.argmax())
        if shared[best] >= WITHIN:
            people[best] = torch.maximum(people[best], face)
        else:
            people = torch.cat([people, face[None]])
    return people


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

    def follow(self, masks: torch.Tensor, cut: bool = False) -> torch.Tensor | None:
        """Masks [N, h, w] of one frame -> their weighted union [h, w], with those that are held; None for nobody."""
        if cut:
            self.people, self.seen = [], 0
        masks = masks[masks.amax(dim=(1, 2)) >= THERE] if len(masks) else masks
        for person in self.people:
            person.missed += 1
        self._recognise(masks)
        self.people = [person for person in self.people if person.missed <= self.hold]
        if not self.people:
            return None
        return torch.stack([person.mask * self._weight(person.number) for person in self.people]).amax(dim=0)

    def _weight(self, number: int) -> float:
        return self.weights[min(number, len(self.weights)) - 1]

    def _recognise(self, masks: torch.Tensor) -> None:
        """The most alike pair first; who is like nobody gets the next number, from the left."""
        left, pairs = set(range(len(masks))), []
        for person in self.people:
            pairs += [(_alike(person.mask, mask), person, index) for index, mask in enumerate(masks)]
        for alike, person, index in sorted(pairs, key=lambda pair: -pair[0]):
            if alike >= SAME and index in left and person.missed:
                left.remove(index)
                person.mask, person.missed = masks[index], 0
        for index in sorted(left, key=lambda index: _middle(masks[index])):
            self.seen += 1
            self.people.append(Person(self.seen, masks[index]))


def _alike(one: torch.Tensor, other: torch.Tensor) -> float:
    """Intersection over union of two soft masks."""
    return float(torch.minimum(one, other).sum() / torch.maximum(one, other).sum().clamp(min=1e-6))


def _middle(mask: torch.Tensor) -> float:
    """Horizontal centre of gravity in pixels."""
    columns = mask.sum(dim=0)
    return float((columns * torch.arange(len(columns))).sum() / columns.sum())
