"""Where a voice may move the picture: a box around each face, three times as wide and high, as the paper's code does."""

import comfy.utils
import torch

from .model import BadAvatar


def face_boxes(masks: dict[str, torch.Tensor], height: int, width: int, enlarge: float) -> torch.Tensor:
    """One mask per person -> [people, height, width] of 0 and 1; where boxes meet, a place is the nearer face's.

    masks: MASK [B, H, W] or [H, W] of the portrait by the input's name, the first of a batch counts; cropped as the portrait
    is. enlarge: sides of the box over those of the mask's own. Raises BadAvatar where a mask is empty.
    """
    spans = [list(map(span, lines(mask, name, height, width))) for name, mask in masks.items()]
    boxes = torch.stack([box(each, height, width, enlarge) for each in spans])
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    away = torch.stack([(rows - sum(y) / 2) ** 2 + (columns - sum(x) / 2) ** 2 for y, x in spans])
    nearest = torch.where(boxes > 0, away, torch.inf).argmin(dim=0)
    return boxes * (nearest == torch.arange(len(boxes))[:, None, None])


def lines(mask: torch.Tensor, name: str, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which rows [height] and which columns [width] of the video hold the face."""
    first = (mask if mask.ndim == 2 else mask[0])[None, None]
    there = comfy.utils.common_upscale(first, width, height, "nearest-exact", "center")[0, 0] > 0.5
    if not there.any():
        where = "outside of what width and height keep of the portrait" if first.gt(0.5).any() else "empty: no face"
        raise BadAvatar(f"{name} is {where}. Draw one in ComfyUI's mask editor, or find it with SyncCache Human Mask")
    return there.any(dim=1), there.any(dim=0)


def span(there: torch.Tensor) -> tuple[int, int]:
    """From where to where, in pixels."""
    found = there.nonzero().flatten()
    return found[0].item(), found[-1].item() + 1


def box(spans, height: int, width: int, enlarge: float) -> torch.Tensor:
    area = []
    for (low, high), size in zip(spans, (height, width)):
        middle, half = (low + high) / 2, (high - low) / 2 * enlarge
        area.append(slice(max(0, round(middle - half)), min(size, round(middle + half))))
    found = torch.zeros(height, width)
    found[tuple(area)] = 1
    return found
