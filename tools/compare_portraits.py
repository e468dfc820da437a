"""SyncCache Compare on photographs of real people: `python -m tools.compare_portraits` writes docs/compare-portraits.webp.

No video model is run: a warp opens and shuts the mouths of two photographs, and every second frame of the "accelerated" film
is the mean of its neighbours. It shows that the node finds real mouths. Needs ComfyUI, and the packages that
`python -m bench.mask --real` names.
"""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from PIL import Image

from bench.real_people import PORTRAITS, frames
from demo.comfy_graph import load_nodes
from demo.find_host import find_host

FILE = Path(__file__).resolve().parents[1] / "docs" / "compare-portraits.webp"
FRAMES, SIDE, FPS = 24, 400, 16.0
WIDTH = 640  # of a portrait's column in the picture


def portrait(source: tuple[str, str], faces) -> torch.Tensor:
    """The square around the face of a photograph, [1, SIDE, SIDE, 3]."""
    photo = frames(*source)
    y0, y1, x0, x1 = faces.mouths(photo, photo.shape[1:3], lambda: None).boxes[0]
    half = int(2.2 * (x1 - x0))
    top, left = max(0, (y0 + y1) // 2 - int(1.3 * half)), max(0, (x0 + x1) // 2 - half)
    cut = photo[:, top : top + 2 * half, left : left + 2 * half].movedim(-1, 1)
    return F.interpolate(cut, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)


def speaking(still: torch.Tensor, mouth, pace: float) -> torch.Tensor:
    """[FRAMES, SIDE, SIDE, 3]: what lies below the lips' middle moves down and up so often. mouth: y0, y1, x0, x1."""
    y0, y1, x0, x1 = (int(edge) for edge in mouth)
    down, across = torch.meshgrid(torch.arange(SIDE) - (y0 + y1) / 2, torch.arange(SIDE) - (x0 + x1) / 2, indexing="ij")
    near = torch.exp(-((across / (x1 - x0)) ** 2) - (down / (1.5 * (y1 - y0))) ** 2) * torch.sigmoid(down)
    open_by = 0.3 * (y1 - y0) * (1 - torch.cos(2 * torch.pi * pace * torch.arange(FRAMES) / FRAMES)) / 2
    identity = F.affine_grid(torch.eye(2, 3)[None], (1, 3, SIDE, SIDE), align_corners=False)
    grid = identity.repeat(FRAMES, 1, 1, 1)
    grid[..., 1] -= 2 / SIDE * open_by[:, None, None] * near
    film = still.movedim(-1, 1).expand(FRAMES, -1, -1, -1)
    return F.grid_sample(film, grid, align_corners=False, padding_mode="border").movedim(1, -1)


def thinned(film: torch.Tensor) -> torch.Tensor:
    """Every second frame is the mean of its neighbours."""
    made = film.clone()
    made[1:-1:2] = (film[:-2:2] + film[2::2]) / 2
    return made


def compared(node, film: torch.Tensor, other: torch.Tensor) -> tuple[str, Image.Image]:
    """The node's verdict, and its strip and curves below each other."""
    table, told, strip, _, curves = node.execute(plain=film, accelerated=thinned(film), second_noise=other, fps=FPS).args
    if json.loads(told)["mouth"]["by"] != "MediaPipe's face landmarks":
        raise RuntimeError(f"the lips were not found: {told[:400]}")
    shown = [Image.fromarray((255 * each[0]).round().byte().numpy()) for each in (strip, curves)]
    shown = [each.resize((WIDTH, WIDTH * each.height // each.width), Image.Resampling.LANCZOS) for each in shown]
    sheet = Image.new("RGB", (WIDTH, sum(each.height for each in shown)))
    for each, top in zip(shown, (0, shown[0].height)):
        sheet.paste(each, (0, top))
    return table.splitlines()[0], sheet


def main() -> None:
    description = __doc__.partition("\n")[0]
    argparse.ArgumentParser(prog="python -m tools.compare_portraits", description=description).parse_args()
    nodes = load_nodes(find_host())
    package = nodes["SyncCache"].__module__.rpartition(".nodes.")[0]
    faces = importlib.import_module(f"{package}.nodes.faces")
    node = type("WithId", (nodes["SyncCacheCompare"],), {"hidden": SimpleNamespace(unique_id="1")})
    import folder_paths

    sheets = []
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_temp_directory(folder)
        for name, source in PORTRAITS.items():
            still = portrait(source, faces)
            mouth = faces.mouths(still, (SIDE, SIDE), lambda: None).boxes[0]
            verdict, sheet = compared(node, *(speaking(still, mouth, pace) for pace in (3, 2)))
            sys.stdout.write(f"{name}: {verdict}\n")
            sheets.append(sheet)
    whole = Image.new("RGB", (WIDTH * len(sheets), max(sheet.height for sheet in sheets)))
    for place, sheet in enumerate(sheets):
        whole.paste(sheet, (WIDTH * place, 0))
    whole.save(FILE, quality=60, method=6)


if __name__ == "__main__":
    sys.exit(main())
