"""Bytes as a person reads them."""

import pytest

from synccache_core.telemetry import readable


@pytest.mark.parametrize(("count", "wanted"), [
    (0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.00 KiB"), (82944, "81.00 KiB"), (104858, "0.10 MiB"),
    (319488000, "0.30 GiB"), (14 << 30, "14.00 GiB"),
])  # fmt: skip
def test_bytes_for_a_person(count, wanted):
    assert readable(count) == wanted
