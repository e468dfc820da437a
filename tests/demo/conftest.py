"""What the demo's tests share."""

import pytest

from demo.find_host import find_host


@pytest.fixture(scope="session")
def host_folder():
    """The folder of ComfyUI, or a loud skip."""
    folder = find_host()
    if folder is None:
        pytest.skip("NO COMFYUI: set COMFYUI_PATH to its folder")
    return folder
