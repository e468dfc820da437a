"""Attributes of modules that are replaced for a while."""

from contextlib import ExitStack

_ABSENT = object()


def override(stack: ExitStack, owner, name: str, value) -> None:
    """Set an instance attribute; when `stack` is left, exactly what was there comes back, or its absence."""
    before = vars(owner).get(name, _ABSENT)

    def restore():
        if before is _ABSENT:
            vars(owner).pop(name, None)
        else:
            vars(owner)[name] = before

    stack.callback(restore)
    vars(owner)[name] = value
