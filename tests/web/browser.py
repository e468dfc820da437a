"""Which browser the tests drive, and which editor they load in it."""

import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from tools.setup_env import EDITOR, editor_folder, pinned_editor

NAMES = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "no Chromium with playwright found: install both, or set CHROMIUM_PATH, to run the browser tests"
NO_EDITOR = "an editor of a newer ComfyUI is not installed, see .venv/setup.log"
# Headless, as root, without a GPU and off the network.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def find_chromium(environment=os.environ) -> str | None:
    """$CHROMIUM_PATH, or a Chromium on the PATH; None also where playwright, which drives it, is missing."""
    if find_spec("playwright") is None:
        return None
    named = environment.get("CHROMIUM_PATH", "").strip()
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def editor(host: Path) -> tuple[Path | None, str | None]:
    """(the folder of the editor that `host` was released with, unless it is the installed one; what to say otherwise)."""
    wanted = pinned_editor(host)
    try:
        installed = version(EDITOR)
    except PackageNotFoundError:
        installed = None
    if wanted in (None, installed):
        return None, None
    folder = editor_folder(wanted)
    if folder.is_dir():
        return folder, None
    return None, f"the editor {wanted}; the tests used {installed}, see .venv/setup.log"
