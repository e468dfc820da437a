"""YOLO detectors as data: class names, architecture and weights. ultralytics is not needed to read or convert them.

`python -m synccache_core.human.detector_file convert in.pt out.safetensors`, run in this pack's folder. A .safetensors
file can hold no code. ultralytics evaluates parts of an architecture when it builds a model, so these are checked here as
well.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import BadDetector, BadInput, SyncCacheError
from ..files.checked import check_choice, check_number, check_text, parse, shown
from .pickled import StandIn, load, tensors

FORMAT = "synccache_detector"
VERSION = 1
MOST_TEXT = 1 << 18
DEFAULT_SIZE, MOST_SIZE = 640, 4096
TASKS = {"SegmentationModel": "segment", "DetectionModel": "detect"}
# Layers of ultralytics' architectures for boxes and masks, YOLOv3 to YOLO26; anything else that it knows by name, such as
# a function, is not built.
LAYERS = set(
    "A2C2f AConv ADown BottleneckCSP Bottleneck C1 C2 C2PSA C2f C2fCIB C2fPSA C3 C3Ghost C3TR C3k2 C3x CBFuse CBLinear "
    "Concat Conv ConvTranspose DWConv Detect ELAN1 Focus GhostBottleneck GhostConv PSA RepC3 RepNCSPELAN4 SCDown SPP "
    "SPPELAN SPPF Segment Segment26 v10Detect nn.ConvTranspose2d nn.Identity nn.MaxPool2d nn.Upsample nn.ZeroPad2d".split()
)
WORDS = {"nc", "None", "nearest", "bilinear", "True", "False"}
ACTIVATION = r"(torch\.)?nn\.(SiLU|ReLU6?|LeakyReLU|GELU|Mish|Hardswish)\((inplace=True|0?\.\d{1,3})?\)"


@dataclass(frozen=True)
class Detector:
    """A model before it is built. task: "segment" or "detect". names: of the classes. size: pixels of its longest side."""

    task: str
    names: tuple[str, ...]
    size: int
    architecture: dict
    weights: dict[str, torch.Tensor]


def read(path: Path) -> Detector:
    """A detector from a .safetensors or .pt file. Raises BadDetector, which names the file and what is wrong with it."""
    if not path.is_file():
        raise BadDetector(f"{path.name}: there is no such file")
    try:
        return _from_safetensors(path) if path.suffix == ".safetensors" else _from_pickle(path)
    except BadInput as error:
        raise BadDetector(f"{path.name}: {error}") from None


def save(detector: Detector, path: Path) -> None:
    """As .safetensors, everything but the weights in its metadata."""
    about = {
        "version": VERSION, "task": detector.task, "names": list(detector.names), "size": detector.size,
        "architecture": detector.architecture,
    }  # fmt: skip
    weights = {name: tensor.contiguous().clone() for name, tensor in detector.weights.items()}
    save_file(weights, path, metadata={FORMAT: json.dumps(about)})


def convert(source: Path, target: Path) -> Detector:
    """Read one file, write it as .safetensors. Raises BadDetector."""
    detector = read(source)
    save(detector, target)
    return detector


def _from_safetensors(path: Path) -> Detector:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(FORMAT)
            weights = {name: file.get_tensor(name) for name in file.keys()} if text else {}
    except (SafetensorError, OSError, ValueError) as error:
        raise BadDetector(f"{path.name}: not a readable safetensors file: {error}") from None
    if not text:
        raise BadDetector(
            f"{path.name}: holds no detector's architecture in its metadata. Make one from a .pt file with: "
            "python -m synccache_core.human.detector_file convert in.pt out.safetensors"
        )
    about = parse(text, MOST_TEXT)
    check_number("version", about.get("version"), 1, VERSION, whole=True)
    return _checked(about.get("task"), about.get("names"), about.get("size"), about.get("architecture"), weights)


def _from_pickle(path: Path) -> Detector:
    content = load(path)
    model = (content.get("ema") or content.get("model")) if isinstance(content, dict) else None
    task = TASKS.get(type(model).__name__) if isinstance(model, StandIn) else None
    if task is None:
        found = type(model if model is not None else content).__name__
        raise BadDetector(f"{path.name}: holds no YOLO model for boxes or masks but {shown(found)}")
    settings = content.get("train_args")
    size = settings.get("imgsz") if isinstance(settings, dict) else None
    names = model.get("names")
    names = list(names.values()) if isinstance(names, dict) else names
    try:
        weights = tensors(model)
    except ValueError as error:
        raise BadDetector(f"{path.name}: {error}") from None
    return _checked(task, names, size if isinstance(size, int) else DEFAULT_SIZE, model.get("yaml"), weights)


def _checked(task: object, names: object, size: object, architecture: object, weights: dict) -> Detector:
    """Raises BadInput."""
    check_choice("task", task, TASKS.values())
    check_number("size", size, 32, MOST_SIZE, whole=True)
    if not isinstance(names, list) or not 1 <= len(names) <= 10_000:
        raise BadInput(f"names must be a list of class names, got {shown(names)}")
    for position, name in enumerate(names):
        check_text(f"names[{position}]", name, 200)
    return Detector(task, tuple(names), size, checked_architecture(architecture, len(names)), weights)


def checked_architecture(found: object, classes: int) -> dict:
    """The parts of ultralytics' model description that build a model, and nothing else. Raises BadInput."""
    if not isinstance(found, dict):
        raise BadInput(f"architecture must be an object, got {shown(found)}")
    layers = {part: _layers(part, found.get(part)) for part in ("backbone", "head")}
    clean = {"nc": classes, "channels": 3, **layers}
    for key, low, high in (("depth_multiple", 0, 4), ("width_multiple", 0, 4), ("reg_max", 1, 64)):
        if key in found:
            check_number(key, found[key], low, high, whole=key == "reg_max")
            clean[key] = found[key]
    if found.get("activation") is not None:
        if not isinstance(found["activation"], str) or not re.fullmatch(ACTIVATION, found["activation"]):
            raise BadInput(f"activation {shown(found['activation'])} is not one that is built")
        clean["activation"] = found["activation"]
    if found.get("scales"):
        clean |= _scale(found["scales"], found.get("scale"))
    return clean | ({"end2end": True} if found.get("end2end") is True else {})


def _scale(scales: object, chosen: object) -> dict:
    if not isinstance(scales, dict) or not scales:
        raise BadInput(f"scales must be an object, got {shown(scales)}")
    chosen = chosen or next(iter(scales))
    check_choice("scale", chosen, list(scales))
    check_text("scale", chosen, 20)
    values = scales[chosen]
    if not isinstance(values, list) or len(values) != 3:
        raise BadInput(f"scales.{chosen} must be three numbers, got {shown(values)}")
    for position, value in enumerate(values):
        check_number(f"scales.{chosen}[{position}]", value, 0, 1 << 16)
    return {"scales": {chosen: list(values)}, "scale": chosen}


def _layers(part: str, found: object) -> list:
    if not isinstance(found, list) or not 1 <= len(found) <= 200:
        raise BadInput(f"{part} must be a list of 1 to 200 layers, got {shown(found)}")
    for position, layer in enumerate(found):
        where = f"{part}[{position}]"
        if not isinstance(layer, list) or len(layer) != 4 or not isinstance(layer[3], list):
            raise BadInput(f"{where} must be [from, repeats, layer, arguments], got {shown(layer)}")
        check_choice(f"{where}: layer", layer[2], LAYERS)
        check_number(f"{where}: repeats", layer[1], 0, 100, whole=True)
        for value in (layer[0], *layer[3]):
            _value(where, value)
    return [[item if not isinstance(item, list) else list(item) for item in layer] for layer in found]


def _value(where: str, value: object) -> None:
    if isinstance(value, list) and len(value) <= 32:
        for item in value:
            check_number(where, item, -200, 8192)
    elif isinstance(value, str):
        check_choice(where, value, WORDS)
    elif value is not None and not isinstance(value, bool):
        check_number(where, value, -200, 8192)


def main(arguments: Sequence[str] | None = None) -> int:
    title = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m synccache_core.human.detector_file", description=title)
    parser.add_argument("command", choices=["convert"])
    parser.add_argument("source", type=Path, help="a .pt file of ultralytics")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    options = parser.parse_args(arguments)
    try:
        if options.target.suffix != ".safetensors" or options.target.exists():
            raise BadDetector(f"{options.target}: must be a new file that ends in .safetensors")
        made = convert(options.source, options.target)
    except (SyncCacheError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    about = f"{made.task}, {made.size} px, {len(made.weights)} tensors; {', '.join(made.names)}"
    sys.stdout.write(f"{options.target}: {about}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
