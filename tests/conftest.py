"""Host tests run where a ComfyUI is found ($COMFYUI_PATH, the parent folders, ~/comfy/ComfyUI) and are skipped elsewhere."""

from pathlib import Path

import pytest

from demo.find_host import find_host

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    if find_host() is not None:
        return
    skip = pytest.mark.skip(reason="no ComfyUI found: set COMFYUI_PATH to run the host tests")
    for item in items:
        if "host" in item.keywords:
            item.add_marker(skip)
