"""Numbers as people read them."""

MIB, GIB = 2**20, 2**30


def readable(count: int) -> str:
    """Bytes for a person."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", 2**10)):
        if count >= max(2**10, 0.1 * size):
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"


def counted(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
