"""nodes/detector.py without ComfyUI, and stand-ins for ultralytics' classes to make checkpoints of."""

import importlib
import sys
from types import ModuleType

import pytest
import torch

from tests.conftest import ROOT

SETTINGS = {"imgsz": 64, "epochs": 1}
ARCHITECTURE = {
    "nc": 1,
    "scales": {"p": [0.5, 0.125, 256]},
    "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [128, 3, 2]], [-1, 1, "Conv", [256, 3, 2]]],
    "head": [[[2], 1, "Detect", ["nc"]]],
}


def load_alone(name: str = "alone") -> ModuleType:
    """nodes/detector.py below an empty package, since nodes/__init__ needs ComfyUI."""
    for package, folder in ((name, ROOT), (f"{name}.nodes", ROOT / "nodes")):
        module = sys.modules.setdefault(package, ModuleType(package))
        module.__path__ = [str(folder)]
    return importlib.import_module(f"{name}.nodes.detector")


@pytest.fixture(scope="session")
def detector():
    return load_alone()


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """(file name, **changes) -> path of a .pt as ultralytics writes it: a pickled model of classes with its names."""

    def fake(module: str, name: str, base: type = torch.nn.Module) -> type:
        for end in range(1, module.count(".") + 2):
            package = ".".join(module.split(".")[:end])
            if package not in sys.modules or package == module:
                monkeypatch.setitem(sys.modules, package, ModuleType(package))
        made = type(name, (base,), {"__module__": module})
        setattr(sys.modules[module], name, made)
        return made

    def write(file: str = "model.pt", kind: str = "DetectionModel", **changes):
        model = fake("ultralytics.nn.tasks", kind)()
        model.model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
        model.yaml, model.names = {**ARCHITECTURE, "yaml_file": "x.yaml"}, {0: "person"}
        for name, value in changes.items():
            setattr(model, name, value)
        torch.save({"model": model, "ema": None, "train_args": SETTINGS, "epoch": 3}, tmp_path / file)
        return tmp_path / file

    return write
