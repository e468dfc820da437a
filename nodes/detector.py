"""People and faces by ultralytics' YOLO: the only place that imports it, inside a call, and that leaves no trace of it.

ultralytics is no requirement of this pack, and is AGPL-3.0. It only builds the network here, from a file that
synccache_core.human.detector_file has read and checked, and suppresses double boxes: its own loader, predictor, settings,
downloads and analytics never run.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from logging import getLogger
from os import environ
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
import torch.nn.functional as F

from ..synccache_core import SyncCacheError
from ..synccache_core.errors import BadDetector
from ..synccache_core.human.detector_file import Detector, read
from ..synccache_core.human.people import Found, ellipses
from ..synccache_core.sentences import say

OLDEST = (8, 4)  # 8.3.41, 42, 45 and 46 on PyPI carried a coin miner
PACKAGES = ("ultralytics", "ultralytics-opencv-headless")
HOW = (
    "Install it into ComfyUI's Python with\n    python -m pip install \"ultralytics>=8.4\"\nand restart ComfyUI. It is "
    "licensed AGPL-3.0: what you build with it and offer to others, over a network too, then comes under the AGPL. Or "
    "connect a mask from another node instead, which needs no ultralytics."
)
BATCH, OVERLAP, MOST_FOUND, PATIENCE = 4, 0.7, 100, 60.0
DOUBT = 0.1  # confidence that is enough for somebody who is followed, see people.Found
BEYOND = 0.2  # of a box, by which an outline may go past it on every side: boxes are often drawn through people's heads
SHARPNESS = 4.0  # of an outline's logits: its edge stays soft, but what the network half sees does not count
GREY = 114 / 255  # what YOLO models are trained to see around a picture


class NoDetector(SyncCacheError, RuntimeError):
    """ultralytics is missing, too old or broken; says what to do."""


class Tools(NamedTuple):
    """What is used of ultralytics: the class of a network by task, and non-maximum suppression."""

    networks: dict[str, type]
    suppress: Callable


@contextmanager
def traceless(scratch: Path) -> Iterator[None]:
    """Put back what importing ultralytics changes for the whole process; what it writes goes to the folder `scratch`.

    These are the environment, torch.save, torch.load, thread counts, print options, random state, warning filters and log
    handlers. What ultralytics reads only once stays with it if this is the first import in the process: it is offline,
    installs nothing, loads models of other packs in its safe way, and keeps its settings in `scratch`.

    The only place in this pack that touches the process environment, and a test keeps it so. There is no other way: while
    it is imported ultralytics looks for a network, and takes these settings from the environment alone; what it sets there
    itself (OMP_NUM_THREADS and others) would slow down everything that ComfyUI starts later. Nothing read here leaves it.
    """
    before, functions = dict(environ), (torch.save, torch.load)
    threads, options = torch.get_num_threads(), torch._tensor_str.get_printoptions()
    loggers = [(log, log.handlers[:], log.level, log.propagate) for log in (getLogger(), getLogger("ultralytics"))]
    environ.update(
        YOLO_CONFIG_DIR=str(scratch), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false",
        ULTRALYTICS_SAFE_LOAD="true",
    )  # fmt: skip
    try:
        with warnings.catch_warnings(), numpy.printoptions(), torch.random.fork_rng(devices=[]), _opencv():
            yield
    finally:
        for name in set(environ) - set(before):
            del environ[name]
        environ.update(before)
        torch.save, torch.load = functions
        torch.set_printoptions(**options)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        for log, handlers, level, propagate in loggers:
            log.handlers, log.propagate = handlers, propagate
            log.setLevel(level)


@contextmanager
def _opencv() -> Iterator[None]:
    """Keep OpenCV's thread count, and the functions that ultralytics replaces on Windows."""
    try:
        import cv2
    except ModuleNotFoundError:
        yield
        return
    threads, functions = cv2.getNumThreads(), (cv2.imread, cv2.imwrite, cv2.imshow)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.imread, cv2.imwrite, cv2.imshow = functions


def tools() -> Tools:
    """Import ultralytics; call it inside `traceless`. Raises NoDetector."""
    check_version()
    try:
        from ultralytics.nn.tasks import DetectionModel, SegmentationModel
        from ultralytics.utils.nms import non_max_suppression
    except ModuleNotFoundError as error:
        raise NoDetector(f"the detector needs the Python package {error.name}, which is not installed. {HOW}") from None
    except (ImportError, OSError) as error:
        raise NoDetector(f"ultralytics is installed but does not start: {error}") from error
    return Tools({"segment": SegmentationModel, "detect": DetectionModel}, non_max_suppression)


def check_version() -> None:
    """Before anything of the package runs. Raises NoDetector."""
    for package in PACKAGES:
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        if tuple(int(part) for part in found.split(".")[:2] if part.isdigit()) < OLDEST:
            raise NoDetector(f"ultralytics {found} is too old, 8.4 or newer is needed. {HOW}")
        return
    raise NoDetector(f"the detector needs the Python package ultralytics, which is not installed. {HOW}")


@dataclass(frozen=True)
class Finder:
    """A built network that finds some classes. boxes: it gives no outlines, so people become ellipses."""

    network: torch.nn.Module
    suppress: Callable
    size: int
    classes: tuple[int, ...]
    count: int
    boxes: bool
    device: torch.device

    @property
    def remark(self) -> str:
        """What to know about its masks."""
        return say("finds boxes, people are soft ellipses") if self.boxes else ""

    @torch.inference_mode()
    def find(self, pictures: torch.Tensor, confidence: float) -> list[Found]:
        """Pictures [F, H, W, 3] in 0..1 -> for each those found, masks [N, h, w]; h, w are H, W scaled."""
        found = []
        for batch in pictures.split(BATCH):
            images, inside = letterboxed(batch, self.size, max(32, int(self.network.stride.max())))
            output = self.network(images.to(self.device))
            rows = self.suppress(
                output[0], min(confidence, DOUBT), OVERLAP, classes=list(self.classes), max_det=MOST_FOUND,
                max_time_img=PATIENCE, nc=self.count, end2end=bool(getattr(self.network, "end2end", False)),
            )  # fmt: skip
            shapes = [None] * len(rows) if self.boxes else (output[0][1] if isinstance(output[0], tuple) else output[1])
            for r, shape in zip(rows, shapes):
                masks = _masks(r.float(), shape, images.shape[2:], inside)
                found.append(Found(masks.cpu(), r[:, 4].cpu() >= confidence))
        return found


def build(path: Path, wanted: str, device: torch.device, scratch: Path) -> Finder:
    """A finder from a model file for the classes that are named in `wanted`. Raises BadDetector, NoDetector."""
    check_version()
    detector = read(path)
    classes = chosen(detector, wanted, path.name)
    with traceless(scratch):
        used = tools()
        network = _network(detector, used, path.name).train(False).to(device)
    return Finder(network, used.suppress, detector.size, classes, len(detector.names), detector.task == "detect", device)


def _network(detector: Detector, used: Tools, name: str) -> torch.nn.Module:
    weights = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in detector.weights.items()}
    try:
        network = used.networks[detector.task](deepcopy(detector.architecture), nc=len(detector.names), verbose=False)
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise BadDetector(f"{name}: its weights do not fit its architecture: {str(error)[:200]}") from None
    return network


def chosen(detector: Detector, wanted: str, name: str) -> tuple[int, ...]:
    """Indices of the classes in a list such as "person, face"; "*" is all. Raises BadDetector where none is there."""
    names = {part.strip().casefold() for part in wanted.split(",") if part.strip()}
    found = tuple(i for i, known in enumerate(detector.names) if "*" in names or known.casefold() in names)
    if not found:
        known = ", ".join(detector.names[:20]) + (", ..." if len(detector.names) > 20 else "")
        raise BadDetector(f"{name} knows none of the classes {wanted!r}; it knows: {known}. * takes all of them")
    return found


def letterboxed(pictures: torch.Tensor, size: int, stride: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """[F, H, W, 3] -> [F, 3, h', w'] for a network, the longer side `size`, and h, w of the picture at its upper left."""
    height, width = pictures.shape[1:3]
    scale = size / max(height, width)
    inside = max(1, round(height * scale)), max(1, round(width * scale))
    images = F.interpolate(pictures.movedim(-1, 1), inside, mode="bilinear", antialias=scale < 1, align_corners=False)
    right, below = (-edge % stride for edge in reversed(inside))
    return F.pad(images, (0, right, 0, below), value=GREY), inside


def _masks(rows: torch.Tensor, shapes: torch.Tensor | None, size: torch.Size, inside: tuple[int, int]) -> torch.Tensor:
    """Rows [N, 6+K] of boxes with K shares of the shapes [K, h, w] -> soft masks [N, *inside], each about its box."""
    height, width = inside
    if shapes is None or not len(rows):
        return ellipses(rows[:, :4].cpu(), height, width)
    logits = (rows[:, 6:] @ shapes.float().flatten(1)).view(-1, *shapes.shape[1:])
    masks = F.interpolate(logits[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0, :height, :width]
    y, x = torch.arange(height, device=rows.device), torch.arange(width, device=rows.device)
    beyond = BEYOND * (rows[:, 2:4] - rows[:, :2]).repeat(1, 2) * rows.new_tensor([-1, -1, 1, 1])
    x0, y0, x1, y1 = (edge[:, None, None] for edge in (rows[:, :4] + beyond).unbind(-1))
    within = (x >= x0.floor()) & (x < x1.ceil()) & (y[:, None] >= y0.floor()) & (y[:, None] < y1.ceil())
    return (SHARPNESS * masks).sigmoid() * within
