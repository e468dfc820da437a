"""What is measured on one video beside the uncached one: PSNR, SSIM, VMAF, worst frame, mouth and sound, flicker.

Videos are frames [F, H, W, 3] in 0..1, PSNR in dB and at most `MOST_DB`, which stands for equal videos. VMAF is of whole
frames only: its features span up to 64 pixels, so that a region of a 96 x 96 picture holds none of its own; and it was
trained on 1080p, so that it ranks ways here, no more.
"""

import json
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from imageio_ffmpeg import get_ffmpeg_exe

from demo.figures import best_lag
from demo.media import to_bytes
from demo.scores import correlation
from demo.worlds import WORLDS

from .harness import MOST_DB

EDGE = 2  # px on either side of the human's outline
WINDOW, DEVIATION = 11, 1.5  # px, of SSIM
SSIM_FLOORS = (0.01**2, 0.03**2)  # C1 and C2 of Wang et al. 2004 for pixels in 0..1
LUMA = np.array([0.299, 0.587, 0.114])
REGIONS = ("whole", "human", "mouth", "background", "mask_edge")


def regions(plain: np.ndarray, world: str = "tiny") -> dict[str, np.ndarray]:
    """{region: bool [F, H, W]} of a video; mask_edge is the band within EDGE px of the human's outline."""
    found = {name: np.broadcast_to(mask, plain.shape[:3]) for name, mask in WORLDS[world].regions(plain).items()}
    outside = torch.from_numpy(~found["human"]).float()[:, None]
    near = [torch.nn.functional.max_pool2d(each, 2 * EDGE + 1, 1, EDGE) > 0 for each in (1 - outside, outside)]
    return {**found, "mask_edge": (near[0] & near[1])[:, 0].numpy()}


def decibels(error: np.ndarray) -> np.ndarray:
    """PSNR of mean squared errors of any shape."""
    return np.minimum(MOST_DB, -10 * np.log10(np.maximum(error, 1e-30)))


@lru_cache(maxsize=4)
def window(size: int) -> torch.Tensor:
    """SSIM's Gaussian window along one axis as a matrix [size, size]; borders are reflected."""
    kernel = np.exp(-np.square(np.arange(WINDOW) - WINDOW // 2) / (2 * DEVIATION**2))
    padded = np.pad(np.eye(size), ((WINDOW // 2,) * 2, (0, 0)), mode="reflect")
    return torch.from_numpy(sum(w * padded[i : i + size] for i, w in enumerate(kernel / kernel.sum()))).float()


def ssim_map(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Structural similarity [F, H, W] of luma: Gaussian window (Wang et al. 2004)."""
    height, width = (window(size) for size in one.shape[1:3])
    a, b = (torch.from_numpy((video @ LUMA).astype(np.float32)) for video in (one, other))
    mean_a, mean_b, squares_a, squares_b, product = (height @ each @ width.T for each in (a, b, a * a, b * b, a * b))
    spread = squares_a - mean_a**2 + squares_b - mean_b**2
    alike = (2 * mean_a * mean_b + SSIM_FLOORS[0]) * (2 * (product - mean_a * mean_b) + SSIM_FLOORS[1])
    return (alike / ((mean_a**2 + mean_b**2 + SSIM_FLOORS[0]) * (spread + SSIM_FLOORS[1]))).numpy()


def vmaf(frames: np.ndarray, plain: np.ndarray) -> float:
    """VMAF 0..100 of whole frames, by the libvmaf (version=vmaf_v0.6.1) of imageio-ffmpeg, on 8 bit 4:2:0 pictures."""
    height, width = plain.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        files, log = [Path(folder, name) for name in ("ours", "plain")], Path(folder, "log.json")
        for file, video in zip(files, (frames, plain)):
            file.write_bytes(to_bytes(video).tobytes())
        form = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "16"]
        graph = f"[0]format=yuv420p[a];[1]format=yuv420p[b];[a][b]libvmaf=n_threads=1:log_fmt=json:log_path={log.name}"
        command = [get_ffmpeg_exe(), "-loglevel", "error", *form, "-i", files[0].name, *form, "-i", files[1].name]
        subprocess.run([*command, "-lavfi", graph, "-f", "null", "-"], check=True, cwd=folder, capture_output=True)
        return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def mouth(frames: np.ndarray, opening: np.ndarray, world: str = "tiny") -> dict[str, float]:
    """How the mouth follows the opening [F] that the sound implies: correlation, and by how many frames it comes late."""
    seen = WORLDS[world].mouth(frames)
    return {"mouth_correlation": correlation(seen, opening), "mouth_lag_frames": best_lag(seen, opening)}


def flicker(frames: np.ndarray, plain: np.ndarray, behind: np.ndarray) -> dict[str, float]:
    """What a way adds to the change from frame to frame: mean |d - d_plain| in percent of white, and, behind the person
    [F, H, W], where little moves, mean |d| over that of the plain video.
    """
    here, there = np.diff(frames, axis=0), np.diff(plain, axis=0)
    behind = behind[1:] & behind[:-1]
    still = max(float(np.abs(there)[behind].mean()), 1e-9)
    ratio = float(np.abs(here)[behind].mean()) / still
    return {"flicker_percent": 100 * float(np.abs(here - there).mean()), "background_flicker_ratio": ratio}


def worst_frame(error: np.ndarray, mask: np.ndarray) -> float:
    """The least PSNR of a frame of squared errors [F, H, W] inside a mask [F, H, W]; frames without any of it aside."""
    inside = mask.sum((1, 2))
    return float(decibels(((error * mask).sum((1, 2)) / np.maximum(inside, 1))[inside > 0]).min())


def figures(frames: np.ndarray, plain: np.ndarray, opening: np.ndarray, world: str = "tiny") -> dict[str, float]:
    """Every figure of one video; see the module docstring."""
    error = np.square(frames.astype(np.float64) - plain).mean(-1)
    alike, masks = ssim_map(frames, plain), regions(plain, world)
    found = {f"{name}_db": float(decibels(error[masks[name]].mean())) for name in REGIONS}
    for name in ("whole", "human"):
        found[f"worst_frame_{name}_db"] = worst_frame(error, masks[name])
    found |= {f"{name}_ssim": float(alike[masks[name]].mean()) for name in REGIONS}
    return {**found, "vmaf": vmaf(frames, plain), **mouth(frames, opening, world),
            **flicker(frames, plain, masks["background"])}  # fmt: skip
