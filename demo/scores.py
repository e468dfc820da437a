"""How close an accelerated video is to the plain one, and how well a mouth follows its sound."""
import numpy as np
import torch

from synccache_core.compare.likeness import decibels, ssim_map
from synccache_core.compare.lips import correlation

from .canvas import ellipse
from .portraits import mouth_box_of, mouth_opening

REGIONS = ("whole", "human", "mouth", "background")


def human_outline(size):
    """Head and shoulders where the Tiny Talker draws them, for any portrait: [size,size] of 0 and 1."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = axis[None, :], axis[:, None]
    head, shoulders = ellipse(x, y, 0.64, 0.82) < 0, ellipse(x, y - 1.22, 0.97, 0.54) < 0
    neck = (abs(x) < 0.27) & (y > 0) & (y < 0.9)
    return (head | shoulders | neck).astype(np.float32)


def region_masks(size):
    """{region: bool [size,size]}."""
    human, mouth = human_outline(size) > 0, np.zeros((size, size), bool)
    top, bottom, left, right = mouth_box_of(size)
    mouth[top:bottom, left:right] = True
    return {"whole": np.ones((size, size), bool), "human": human, "mouth": mouth, "background": ~human}


def psnr(a, b, mask):
    """PSNR in dB between frames [F,H,W,3] in 0..1 inside mask [H,W] or [F,H,W]; inf where they are equal."""
    error = np.square(np.asarray(a, np.float64) - b)
    return float(decibels(error[np.broadcast_to(mask, error.shape[:3])].mean()))


def fidelity(frames, plain, regions=None):
    """{region: PSNR in dB to the plain video}. regions: {region: mask}, the Tiny Talker's where not given."""
    regions = regions or region_masks(plain.shape[1])
    return {name: psnr(frames, plain, mask) for name, mask in regions.items()}


def ssim(a, b):
    """Structural similarity [F,H,W], the mean over colours, of frames [F,H,W,3] in 0..1."""
    planes = (torch.from_numpy(np.ascontiguousarray(frames, np.float32)).movedim(-1, 1).flatten(0, 1) for frames in (a, b))
    return ssim_map(*planes).unflatten(0, (-1, 3)).mean(1).numpy()


def with_others(seen, true):
    """|r| of every seen mouth curve with the true curves of all other clips that have speech: a list. seen, true: [N] of
    curves [F]."""
    return [abs(correlation(mouth, opening)) for one, mouth in enumerate(seen)
            for other, opening in enumerate(true) if other != one and np.std(opening) > 0]


def mouth_follows(frames, opening):
    """Correlation of the mouth that is seen in frames [F,H,W,3] with the opening [F] that the sound implies."""
    return correlation(mouth_opening(frames, mouth_box_of(frames.shape[1])), opening)
