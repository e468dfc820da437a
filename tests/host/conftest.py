"""A real ComfyUI in this process, on the CPU, with the pack loaded by ComfyUI's own custom-node loader."""

import asyncio
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import ROOT, find_comfyui


@pytest.fixture(scope="session")
def comfy():
    """Namespace of the host's modules and of our nodes, by id."""
    path = find_comfyui()
    if path is None:
        pytest.skip("no ComfyUI found: set COMFYUI_PATH to run the host tests")
    sys.path.insert(0, str(path))
    import comfy.options  # noqa: F401 - argument parsing stays off, pytest's own arguments are safe
    from comfy.cli_args import args

    args.cpu = True
    import comfy_extras.nodes_easycache as easycache
    import comfy_extras.nodes_wan as nodes_wan

    import nodes

    torch.set_num_threads(2)
    assert asyncio.run(nodes.load_custom_node(str(ROOT), module_parent="custom_nodes")), "ComfyUI refused the pack"
    return SimpleNamespace(nodes=nodes, wan=nodes_wan, easycache=easycache, ids=nodes.NODE_CLASS_MAPPINGS, path=path)
