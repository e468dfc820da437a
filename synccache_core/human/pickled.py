"""Weights and settings out of a pickled PyTorch model, without its classes: nothing that the file names is ever called.

A .pt file of ultralytics is a pickle of model objects, and unpickling one can run any code. Here the list of names in the
pickle is read first, without loading it, and a name outside of what such files hold is refused. Then torch's own restricted
loader (weights_only) reads it with an inert stand-in for every class and function but torch's tensors and containers.
"""

import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from reprlib import repr as shown

import torch

from ..errors import BadDetector

MOST_PICKLE, MOST_NAMES, MOST_TENSORS, MOST_DEPTH = 1 << 25, 500, 20_000, 64
# What ultralytics' own files name: its and torch's layers, tensors, and the Python and numpy values of training settings.
# getattr is among them (YOLOv8-seg keeps a method of Detect); like everything else it is a stand-in and never runs.
KNOWN = (
    r"(ultralytics|torch\.nn|torchvision\.(transforms|ops)|numpy)(\.\w+)+|torch\.\w+|torch\._utils\._rebuild_\w+"
    r"|torch\.storage\.\w+|torch\.serialization\._get_layout|collections\.(OrderedDict|defaultdict)|_codecs\.encode"
    r"|pathlib\.\w*Path|builtins\.(set|frozenset|dict|list|tuple|slice|complex|bytearray|getattr|object)"
)
# Other ways to name or make something, which torch.save never writes and the list of names would miss.
STRANGE = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX", "REDUCE_EX"}
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile,
              pickle.UnpicklingError)  # fmt: skip


class StandIn:
    """In place of a class or function that a pickle names: takes any arguments, keeps its state, does nothing."""

    state: object = None

    def __new__(cls, *_, **__) -> "StandIn":
        return object.__new__(cls)

    def __init__(self, *_, **__) -> None:
        """Arguments are not kept."""

    def __setstate__(self, state: object) -> None:
        self.state = state

    def get(self, name: str, default: object = None) -> object:
        """An attribute that the pickle gave to the object."""
        return self.state.get(name, default) if isinstance(self.state, dict) else default


def load(path: Path) -> object:
    """The content of a .pt file, objects of classes as StandIns. Raises BadDetector."""
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):  # came with stand-ins under a name, in 2.6
        raise BadDetector(
            f"{path.name}: torch {torch.__version__} cannot read a .pt file safely. Use torch 2.6 or newer, or convert the "
            "file to .safetensors on a machine that has it"
        )
    try:
        names = scan(pickle_of(path))
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    if strange := sorted(name for name in names if not re.fullmatch(KNOWN, name)):
        raise BadDetector(
            f"{path.name}: not loaded, because it would call {', '.join(map(shown, strange[:3]))}, which no YOLO model "
            "needs. Do not use this file"
        )
    return _load(path, names)


def pickle_of(path: Path) -> bytes:
    """The pickle inside a file that torch.save wrote. Raises BadZipFile, ValueError."""
    with zipfile.ZipFile(path) as archive:
        inside = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
        if len(inside) != 1:
            raise ValueError(f"{len(inside)} pickles inside instead of one")
        with archive.open(inside[0]) as file:
            content = file.read(MOST_PICKLE + 1)
    if len(content) > MOST_PICKLE:
        raise ValueError(f"its pickle is larger than {MOST_PICKLE} bytes")
    return content


def scan(content: bytes) -> set[str]:
    """Every module.name that a pickle would look up; nothing is loaded. Raises ValueError, for broken ones too."""
    names = set()
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in STRANGE:
            raise ValueError(f"the pickle holds {opcode.name}, which torch.save does not write")
        if opcode.name == "GLOBAL":
            names.add(str(argument).replace(" ", ".").replace("__builtin__.", "builtins."))  # as torch's loader does
    if len(names) > MOST_NAMES:
        raise ValueError(f"it names {len(names)} classes, more than {MOST_NAMES}")
    return names


def _load(path: Path, names: set[str]) -> object:
    stand_ins = [(type(name.rpartition(".")[2], (StandIn,), {}), name) for name in sorted(names)]
    others = torch.serialization.get_safe_globals()  # another pack may have allowed the real classes: not here
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals(stand_ins)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def tensors(module: object) -> dict[str, torch.Tensor]:
    """The state dict of a pickled torch module: name -> tensor, as it was stored. Raises ValueError for endless ones."""
    found = dict(zip(range(MOST_TENSORS + 1), _tensors(module, "", 0)))
    if len(found) > MOST_TENSORS:
        raise ValueError(f"it holds more than {MOST_TENSORS} tensors")
    return dict(found.values())


def _tensors(module: object, prefix: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if not isinstance(module, StandIn) or depth > MOST_DEPTH:
        raise ValueError(f"{shown(prefix)} is no module, or nested too deep")
    for kind in ("_parameters", "_buffers"):
        for name, value in _mapping(module, kind):
            if isinstance(value, torch.Tensor):
                yield f"{prefix}{name}", value.detach()
    for name, child in _mapping(module, "_modules"):
        if child is not None:
            yield from _tensors(child, f"{prefix}{name}.", depth + 1)


def _mapping(module: StandIn, kind: str) -> list[tuple[str, object]]:
    found = module.get(kind)
    return list(found.items()) if isinstance(found, dict) else []


def _unreadable(path: Path, error: Exception) -> BadDetector:
    reason = (str(error).rpartition("WeightsUnpickler error: ")[2].splitlines() or [type(error).__name__])[0]
    return BadDetector(f"{path.name}: no model that can be read, the file is damaged or something else: {reason[:200]}")
