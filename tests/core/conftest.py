"""nodes/pictures without the package around it, which needs ComfyUI."""

import importlib.util
import sys

import pytest

from synccache_core.reuse import corrector
from tests.conftest import ROOT

NAME = "synccache_pictures_alone"


@pytest.fixture(scope="module")
def pictures():
    """module(name) of nodes/pictures."""
    folder = ROOT / "nodes" / "pictures"
    spec = importlib.util.spec_from_file_location(NAME, folder / "__init__.py", submodule_search_locations=[str(folder)])
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    yield lambda name: importlib.import_module(f"{NAME}.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


@pytest.fixture
def blind(monkeypatch):
    """Outputs that do not depend on x: a model takes nothing of an error back."""
    monkeypatch.setattr(corrector, "followed", lambda sigma: 1.0)
