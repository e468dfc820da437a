"""People by MediaPipe's selfie segmentation where it is installed. This pack never installs it (Apache-2.0)."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from ..synccache_core.people import Found, certain
from .detector import NoDetector

CHOICE = "MediaPipe selfie segmentation"
MODEL = Path("modules", "selfie_segmentation", "selfie_segmentation_landscape.tflite")  # inside the package, 250 kB
LANDSCAPE = 1  # the model for wide pictures: bench.mask --real has it level with the other on square ones
SPECK = 0.005  # share of the picture below which an outline shows nobody
HOW = (
    f"{CHOICE} needs the Python package mediapipe with its models inside, as 0.10.21 has them. Install it into ComfyUI's "
    "Python with\n    python -m pip install mediapipe==0.10.21\nand restart ComfyUI; it asks for numpy below 2, the help "
    "page says what else works. Or choose another detector, or connect a mask from another node."
)


def offered() -> list[str]:
    """The choice where MediaPipe and the model are there, of which nothing is imported; else nothing."""
    try:
        spec = find_spec("mediapipe")
    except ValueError:  # a stand-in for the package, which somebody made
        return []
    folders = spec.submodule_search_locations if spec else None
    return [CHOICE] if any((Path(folder) / MODEL).is_file() for folder in folders or ()) else []


def segmenter():
    """MediaPipe's graph, to be closed after use. Raises NoDetector."""
    try:
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation
    except ModuleNotFoundError as error:
        missing = "" if (error.name or "mediapipe").startswith("mediapipe") else f", and the package {error.name}"
        raise NoDetector(HOW + missing) from None
    except (ImportError, AttributeError, OSError) as error:  # AttributeError: built for another numpy
        raise NoDetector(f"mediapipe is installed but does not start: {error}. {HOW}") from error
    return SelfieSegmentation(model_selection=LANDSCAPE)


@dataclass(frozen=True)
class Outline:
    """Finds everybody in a picture as one outline, as nodes.detector.Finder finds each."""

    remark: str = "everybody in one outline, person_weights holds for all alike"

    def find(self, pictures: torch.Tensor, confidence: float) -> list[Found]:
        """Pictures [F, H, W, 3] in 0..1 -> for each one mask [1, H, W] or none. A mask is 0.5 where the model's certainty is
        `confidence`. Raises NoDetector.
        """
        found = []
        with segmenter() as graph:
            for picture in pictures:
                seen = graph.process((255 * picture).round().byte().contiguous().numpy()).segmentation_mask
                mask = torch.sigmoid(torch.logit(torch.tensor(seen), 1e-4) - torch.logit(torch.tensor(confidence), 1e-4))
                found.append(certain(mask[None][: int((mask > 0.5).float().mean() >= SPECK)]))
        return found
