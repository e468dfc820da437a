"""The core imports with only torch, numpy and safetensors beside it; the pack's front door imports without a host."""

import subprocess
import sys

from tests.conftest import ROOT

BLOCKER = """
import sys
class Block:
    names = ("comfy", "comfy_api", "nodes", "folder_paths", "server", "ultralytics", "cv2", "PIL", "torchvision", "einops")
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names and not name.startswith("synccache"):
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
sys.path.insert(0, {root!r})
"""


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_core_imports_alone():
    done = run(BLOCKER.format(root=str(ROOT)) + "import synccache_core.contract.checks, synccache_core; print('fine')")
    assert done.stdout.strip() == "fine", done.stderr


def test_front_door_imports_without_a_host():
    code = BLOCKER.format(root=str(ROOT)) + (
        "import importlib.util as u\n"
        f"s = u.spec_from_file_location('pack', {str(ROOT / '__init__.py')!r}, submodule_search_locations=[{str(ROOT)!r}])\n"
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.WEB_DIRECTORY)"
    )
    done = run(code)
    assert done.stdout.strip() == "./web", done.stderr
