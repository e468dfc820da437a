"""Finds a ComfyUI for the host tests: $COMFYUI_PATH, the parent folders, then the place where comfy-cli puts it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def find_comfyui() -> Path | None:
    named = os.environ.get("COMFYUI_PATH")
    places = [Path(named).expanduser()] if named else [*ROOT.parents, Path.home() / "comfy" / "ComfyUI"]
    return next((p for p in places if (p / "comfyui_version.py").is_file() and (p / "nodes.py").is_file()), None)


def pytest_collection_modifyitems(items):
    if find_comfyui() is not None:
        return
    skip = pytest.mark.skip(reason="no ComfyUI found: set COMFYUI_PATH to run the host tests")
    for item in items:
        if "host" in item.keywords:
            item.add_marker(skip)
