"""People by MediaPipe's selfie segmentation where it is installed. This pack never installs it (Apache-2.0)."""

from importlib.util import find_spec
from pathlib import Path
from weakref import finalize

import torch

from ..synccache_core.human.people import Found, certain
from ..synccache_core.sentences import say
from .detector import NoDetector

CHOICE = "MediaPipe selfie segmentation"
MODEL = Path("modules", "selfie_segmentation", "selfie_segmentation_landscape.tflite")  # inside the package, 250 kB
LANDSCAPE = 1  # the model for wide pictures: bench.mask --real has it level with the other on square ones
EVER = 1e-4  # nothing is surer, or less sure, by more than this
SPECK = 0.005  # share of the picture below which an outline shows nobody
HOW = (
    f"{CHOICE} needs the Python package mediapipe with its models inside, as 0.10.21 has them. Install it into ComfyUI's "
    "Python, 3.9 to 3.12, with\n    python -m pip install mediapipe==0.10.21\nand restart ComfyUI. It asks for numpy "
    "below 2: the help page says how to keep a newer one. Or choose another detector, or connect a mask from another node."
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
    """MediaPipe's graph, to be closed after use; it writes a few lines to the console. Raises NoDetector."""
    try:
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation
    except ModuleNotFoundError as error:
        missing = "" if (error.name or "mediapipe").startswith("mediapipe") else f", and the package {error.name}"
        raise NoDetector(HOW + missing) from None
    except (ImportError, AttributeError, OSError) as error:  # AttributeError: built for another numpy
        raise NoDetector(f"mediapipe is installed but does not start: {error}. {HOW}") from error
    return SelfieSegmentation(model_selection=LANDSCAPE)


class Outline:
    """Finds everybody in a picture as one outline, as nodes.detector.Finder finds each. Raises NoDetector."""

    remark = say("everybody in one outline, person_weights holds for all alike")

    def __init__(self):
        self._graph = segmenter()
        finalize(self, self._graph.close)

    def find(self, pictures: torch.Tensor, confidence: float) -> list[Found]:
        """Pictures [F, H, W, 3] in 0..1 -> for each one mask [1, H, W] or none, 0.5 where the model is as sure as asked."""
        found, asked = [], torch.logit(torch.tensor(confidence), EVER)
        for picture in pictures:
            seen = self._graph.process((255 * picture).round().byte().contiguous().numpy()).segmentation_mask
            mask = torch.sigmoid(torch.logit(torch.tensor(seen), EVER) - asked)
            found.append(certain(mask[None][: int((mask > 0.5).float().mean() >= SPECK)]))
        return found
