"""Where detector files lie: the folders and names that other packs use, so that an artist's files appear."""

from pathlib import Path

import folder_paths

from ..synccache_core.errors import BadDetector
from ..synccache_core.files.checked import shown

NONE = "none"
SUFFIXES = (".safetensors", ".pt")
# Folder below models/ultralytics -> key in folder_paths. In an extra_model_paths.yaml each may stand under any of them.
KEYS = {"segm": "ultralytics_segm", "bbox": "ultralytics_bbox", "": "ultralytics"}


def register() -> None:
    """Make the folders known, as Impact Pack's subpack does; what is known already stays as it is."""
    for folder, key in KEYS.items():
        new = key not in folder_paths.folder_names_and_paths
        folder_paths.add_model_folder_path(key, str(Path(folder_paths.models_dir) / "ultralytics" / folder))
        if new:
            folder_paths.folder_names_and_paths[key][1].update(folder_paths.supported_pt_extensions)


register()


def files() -> dict[str, tuple[str, str]]:
    """Name as shown, "segm/x.pt" -> folder key and name there."""
    found = {}
    for folder, key in KEYS.items():
        for name in folder_paths.get_filename_list(key):
            if name.lower().endswith(SUFFIXES):
                found.setdefault("/".join([folder, name.replace("\\", "/")]).lstrip("/"), (key, name))
    return found


def path_of(choice: str) -> Path:
    """The file of a choice, which must be one that is offered. Raises BadDetector."""
    if (known := files().get(choice)) is None:
        raise BadDetector(missing(choice))
    return Path(folder_paths.get_full_path_or_raise(*known))


def missing(choice: str) -> str:
    """What to say where a file is not there."""
    found = ", ".join(list(files())[:20]) or "no files"
    return f"the detector {shown(choice)} is not below models/ultralytics; there: {found}"


def state(choice: str) -> str:
    """Changes when a file does."""
    if choice not in files():
        return choice
    facts = path_of(choice).stat()
    return f"{choice}:{facts.st_size}:{facts.st_mtime_ns}"
