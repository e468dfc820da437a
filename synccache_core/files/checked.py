"""Reading JSON that somebody else wrote: bounded in size and depth, strict, with errors that name the field."""

import json
import math
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Collection
from dataclasses import MISSING, fields
from pathlib import Path
from reprlib import repr as shown  # bounded, and a newline in a name stays "\n"

from ..errors import BadInput

MAX_DEPTH = 16
MAX_DIGITS = 20
# What copying from chats, web pages and word processors leaves in a text: marks without width, and spaces that do not break.
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad")) | {0xA0: " ", 0x202F: " "}
FENCE = "```"
STRING = r'"(?:[^"\\]|\\.)*"?'  # one without an end takes the rest of the text: what is in it is read once


def parse(text: str, most: int) -> dict:
    """A JSON object of at most `most` characters. Refuses NaN, infinities, 1e400, duplicate keys and deep nesting; what a
    text picks up on its way through chats and editors is left out, see `bare`.

    Linear in the text; nesting is counted before the parser, which recurses, sees it. Raises BadInput.
    """
    if len(text) > most:
        raise BadInput(f"{len(text)} characters are too many, at most {most} are read")
    text = bare(text)
    if (depth := _depth(text)) > MAX_DEPTH:
        raise BadInput(f"nested {depth} deep, at most {MAX_DEPTH} levels are read")
    try:
        data = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_short
        )
    except json.JSONDecodeError as error:
        raise BadInput(f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadInput(f"must be a JSON object, got {type(data).__name__}")
    return data


def bare(text: str) -> str:
    """The text without invisible characters, and of a block between code fences only what is in it. Fences in a JSON text
    are its own.
    """
    text = text.translate(INVISIBLE)
    before, _, rest = text.partition(FENCE)
    ends = (mark.start() for mark in re.finditer(f"{STRING}|{FENCE}", rest, re.DOTALL) if mark[0] == FENCE)
    end = None if before.lstrip().startswith("{") else next(ends, None)
    if end is None:
        return text
    language, newline, body = rest[:end].partition("\n")
    return body if newline and language.strip().isalnum() else rest[:end]


def read(path: Path, most: int) -> str:
    """Text of a file of at most `most` bytes, in UTF-8, or UTF-16 with its mark. Raises BadInput, which names the file."""
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise BadInput(f"{path.name}: larger than the {most} bytes that are read")
        return content.decode("utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path.name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path.name}: not UTF-8 text, save it as UTF-8 in a text editor") from None


def build(kind: type, value: object, where: str):
    """A dataclass from a JSON object; lists become tuples. Raises BadInput for unknown or missing fields."""
    if not isinstance(value, dict):
        raise BadInput(f"{where} must be an object, got {shown(value)}")
    known = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    if strange := sorted(set(value) - known):
        raise BadInput(f"{where} has an unknown field {shown(strange[0])}; known are {', '.join(sorted(known))}")
    if missing := sorted(needed - set(value)):
        raise BadInput(f"{where} lacks the field {missing[0]!r}")
    return kind(**{key: tuples(item) for key, item in value.items()})


def tuples(value: object) -> object:
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def check_number(where: str, value: object, low: float, high: float, whole: bool = False, optional: bool = False) -> None:
    if value is None and optional:
        return
    kinds = (int,) if whole else (int, float)
    good = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high
    if not good:
        allowed = "a whole number" if whole else "a number"
        raise BadInput(f"{where} must be {allowed} in {low}..{high}{' or null' if optional else ''}, got {shown(value)}")


def check_text(where: str, value: object, most: int, least: int = 1) -> None:
    if not isinstance(value, str) or not least <= len(value) <= most or not value.isprintable():
        raise BadInput(f"{where} must be text of {least} to {most} printable characters, got {shown(value)}")


def check_choice(where: str, value: object, allowed: Collection[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise BadInput(f"{where} must be one of {', '.join(allowed)}, got {shown(value)}")


def check_bool(where: str, value: object) -> None:
    if not isinstance(value, bool):
        raise BadInput(f"{where} must be true or false, got {shown(value)}")


def check_numbers(where: str, value: object, low: float, high: float, most: int, whole: bool = False) -> None:
    """A tuple of 1 to `most` numbers."""
    if not isinstance(value, tuple) or not 1 <= len(value) <= most:
        raise BadInput(f"{where} must be a list of 1 to {most} numbers, got {shown(value)}")
    for position, item in enumerate(value):
        check_number(f"{where}[{position}]", item, low, high, whole)


def _depth(text: str) -> int:
    depth = deepest = 0
    for mark in re.findall(STRING + r"|[\[{\]}]", text, re.DOTALL):
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, object]]) -> dict:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadInput(f"the field {shown(next(n for n in names if names.count(n) > 1))} is given twice")
    return data


def _no_constant(name: str) -> float:
    raise BadInput(f"{name} is not a number that is accepted")


def _finite(literal: str) -> float:
    if not math.isfinite(number := float(literal)):
        raise BadInput(f"{shown(literal)} is too large a number")
    return number


def _short(literal: str) -> int:
    if len(literal) > MAX_DIGITS:
        raise BadInput(f"{shown(literal)} has too many digits")
    return int(literal)
