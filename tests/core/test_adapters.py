"""Every adapter keeps the contract of synccache_core.testing. A new family adds one line to CASES."""

import pytest

from synccache_core.testing import check_adapter, toy_case

CASES = {
    "toy_after": lambda: toy_case("after"),
    "toy_after_inplace": lambda: toy_case("after", inplace=True),
    "toy_inside": lambda: toy_case("inside"),
    "toy_inside_inplace": lambda: toy_case("inside", inplace=True),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    assert len(check_adapter(CASES[name]())) >= 11
