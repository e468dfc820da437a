"""What is measured on one video beside the uncached one: PSNR, SSIM, VMAF, worst frame, mouth and sound, flicker.

Videos are frames [F, H, W, 3] in 0..1, PSNR in dB and at most `MOST_DB`, which stands for equal videos. VMAF is of whole
frames only: its features span up to 64 pixels, so that a region of a 96 x 96 picture holds none of its own; and it was
trained on 1080p, so that it ranks ways here, no more.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from imageio_ffmpeg import get_ffmpeg_exe

from demo.media import to_bytes
from demo.worlds import WORLDS
from synccache_core.compare.likeness import Comparison
from synccache_core.compare.lips import best_lag, correlation

from .harness import MOST_DB

EDGE = 2  # px on either side of the human's outline
REGIONS = ("whole", "human", "mouth", "background", "mask_edge")


def regions(plain: np.ndarray, world: str = "tiny") -> dict[str, np.ndarray]:
    """{region: bool [F, H, W]} of a video; mask_edge is the band within EDGE px of the human's outline."""
    found = {name: np.broadcast_to(mask, plain.shape[:3]) for name, mask in WORLDS[world].regions(plain).items()}
    outside = torch.from_numpy(~found["human"]).float()[:, None]
    near = [torch.nn.functional.max_pool2d(each, 2 * EDGE + 1, 1, EDGE) > 0 for each in (1 - outside, outside)]
    return {**found, "mask_edge": (near[0] & near[1])[:, 0].numpy()}


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


def figures(frames: np.ndarray, plain: np.ndarray, opening: np.ndarray, world: str = "tiny") -> dict[str, float]:
    """Every figure of one video; see the module docstring."""
    masks, compared = regions(plain, world), Comparison()
    tensors = (torch.from_numpy(np.ascontiguousarray(video, np.float32)) for video in (plain, frames))
    compared.add(*tensors, {name: torch.from_numpy(mask.copy()) for name, mask in masks.items()})
    alike = {name: compared.region(name) for name in REGIONS}
    found = {f"{name}_db": min(MOST_DB, alike[name].psnr) for name in REGIONS}
    for name in ("whole", "human"):
        found[f"worst_frame_{name}_db"] = min(MOST_DB, float(np.nanmin(alike[name].frames)))
    found |= {f"{name}_ssim": alike[name].ssim for name in REGIONS}
    flicker = {"flicker_percent": 100 * compared.added_flicker, "background_flicker_ratio": alike["background"].flicker}
    return {**found, "vmaf": vmaf(frames, plain), **mouth(frames, opening, world), **flicker}
