"""Where a voice may move the picture: a box around each face, three times as wide and high, as the paper's code does."""

import torch

from .model import BadAvatar


def face_boxes(masks: dict[str, torch.Tensor], height: int, width: int, enlarge: float) -> torch.Tensor:
    """One mask per person -> [people, height, width] of 0 and 1; where boxes meet, a place is the nearer face's.

    masks: MASK [B, H, W] or [H, W] by the input's name, the first of a batch counts. enlarge: sides of the box over those of
    the mask's own. Raises BadAvatar where a mask is empty.
    """
    spans = [[span(line, size) for line, size in lines(mask, name, height, width)] for name, mask in masks.items()]
    boxes = torch.stack([box(each, height, width, enlarge) for each in spans])
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    away = torch.stack([(rows - sum(y) / 2) ** 2 + (columns - sum(x) / 2) ** 2 for y, x in spans])
    nearest = torch.where(boxes > 0, away, torch.inf).argmin(dim=0)
    return boxes * (nearest == torch.arange(len(boxes))[:, None, None])


def lines(mask: torch.Tensor, name: str, height: int, width: int):
    """(which rows, height), (which columns, width) of a mask hold the face."""
    there = (mask if mask.ndim == 2 else mask[0]) > 0.5
    if not there.any():
        raise BadAvatar(f"{name} is empty: no face. Draw one in ComfyUI's mask editor, or find it with SyncCache Human Mask")
    return (there.any(dim=1), height), (there.any(dim=0), width)


def span(there: torch.Tensor, size: int) -> tuple[float, float]:
    """From where to where, in pixels of a picture `size` long."""
    found = there.nonzero().flatten()
    return found[0].item() * size / len(there), (found[-1].item() + 1) * size / len(there)


def box(spans, height: int, width: int, enlarge: float) -> torch.Tensor:
    area = []
    for (low, high), size in zip(spans, (height, width)):
        middle, half = (low + high) / 2, (high - low) / 2 * enlarge
        area.append(slice(max(0, round(middle - half)), min(size, round(middle + half))))
    found = torch.zeros(height, width)
    found[tuple(area)] = 1
    return found
