"""Plans and calibrations as files: names that no system trips over, writes that are whole or not at all."""

import os
import tempfile
from pathlib import Path
from typing import TypeVar

from ..errors import BadInput
from ..files.checked import read, shown
from .plan import Plan
from .recording import Recording

SUFFIX = ".json"
MAX_NAME = 80
NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._-")
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}

Document = TypeVar("Document", Plan, Recording)


def save(document: Plan | Recording, folder: Path, name: str) -> Path:
    """Write folder/name.json whole or not at all. Raises BadInput for a bad name or where the folder cannot be written."""
    path, waiting = path_of(folder, name), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", encoding="utf-8", delete=False) as file:
            waiting = file.name
            file.write(document.to_json())
        os.replace(waiting, path)
    except OSError as error:
        if waiting:
            Path(waiting).unlink(missing_ok=True)
        raise BadInput(f"{path.name}: cannot be written: {error.strerror}") from None
    return path


def load(kind: type[Document], folder: Path, name: str) -> Document:
    """Read folder/name.json. Raises BadInput, which names the file."""
    return load_file(kind, file_of(folder, name))


def load_file(kind: type[Document], path: Path) -> Document:
    """Read a file wherever it lies. Raises BadInput, which names the file."""
    text = read(path, kind.MAX_BYTES)
    try:
        return kind.from_json(text)
    except BadInput as error:
        raise BadInput(f"{path.name}: {error}") from None


def names(folder: Path) -> list[str]:
    """Names of the files in a folder, without the suffix; those whose name `save` would refuse are left out."""
    found = {_bare(path.name) for path in Path(folder).glob("*") if path.name.lower().endswith(SUFFIX) and path.is_file()}
    return sorted(name for name in found if _fault(name) is None)


def file_of(folder: Path, name: str) -> Path:
    """The file of a name to be read: folder/name.json, or with the ending .JSON in any spelling. Raises BadInput."""
    path = path_of(folder, name)
    others = (p for p in sorted(path.parent.glob("*")) if p.stem == path.stem and p.suffix.lower() == SUFFIX)
    found = path if path.exists() else next(others, path)
    return path_of(folder, name, found.suffix)


def numbered(name: str, number: int) -> str:
    """A name with a number behind it, shortened where the two would be too long."""
    ending = f"_{number}"
    return name[: MAX_NAME - len(ending)].rstrip(". ") + ending


def path_of(folder: Path, name: str, suffix: str = SUFFIX) -> Path:
    """folder/name.json, below folder also after links. Raises BadInput."""
    name = _bare(name) if isinstance(name, str) else name
    if fault := _fault(name):
        raise BadInput(f"the name {shown(name)} {fault}")
    root = Path(folder).resolve()
    path = root / f"{name}{suffix}"
    if path.resolve().parent != root:
        raise BadInput(f"the name {shown(name)} leads out of its folder")
    return path


def _bare(name: str) -> str:
    """Without the suffix."""
    return name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name


def _fault(name: object) -> str | None:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        return f"must have 1 to {MAX_NAME} characters"
    if not set(name) <= NAME_CHARACTERS:
        return "may hold letters a-z, digits, spaces and . _ - only"
    if name[0] in ". " or name[-1] in ". ":
        return "must not begin or end with a dot or a space"
    if name.split(".")[0].rstrip().upper() in DEVICES:
        return "is reserved by Windows"
    return None
