"""Between Pillow's pictures and ComfyUI's IMAGE."""

import numpy as np
import torch


def as_image(*pictures) -> torch.Tensor:
    """IMAGE [B, H, W, 3] in 0..1 of RGB pictures of one size."""
    return torch.stack([torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255) for picture in pictures])
