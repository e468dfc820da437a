"""Where ComfyUI is. Standard library only: the set-up script asks before anything is installed."""
import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


class HostError(ValueError):
    """COMFYUI_PATH names something that is not ComfyUI."""


def is_host(folder):
    """Whether `folder` is a ComfyUI checkout."""
    return all((folder / name).exists() for name in ("comfyui_version.py", "nodes.py", "comfy/ldm"))


def find_host(variable="COMFYUI_PATH", environment=os.environ):
    """The folder of ComfyUI, or None: $COMFYUI_PATH, a folder above this one, ~/comfy/ComfyUI. "none": no ComfyUI."""
    named = environment.get(variable, "").strip()
    if named.lower() == "none":
        return None
    if named:
        folder = Path(named).expanduser().resolve()
        if not is_host(folder):
            raise HostError(f"{variable}={named!r}: not a ComfyUI folder (no comfyui_version.py, nodes.py, comfy/ldm)")
        return folder
    return next((folder for folder in (*REPO.parents, Path.home() / "comfy/ComfyUI") if is_host(folder)), None)


def find_second_host(first, environment=os.environ):
    """Another version of ComfyUI to test against, or None: $COMFYUI_PATH_2, or a ComfyUI-* folder beside `first`."""
    if environment.get("COMFYUI_PATH_2", "").strip():
        return find_host("COMFYUI_PATH_2", environment)
    if first is None:
        return None
    beside = sorted(folder for folder in first.parent.glob("ComfyUI-*") if folder != first and is_host(folder))
    return beside[0] if beside else None


def host_version(folder):
    """The version text of a ComfyUI folder, such as "0.33.0"."""
    text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
    return text.split('__version__ = "', 1)[-1].split('"', 1)[0]
