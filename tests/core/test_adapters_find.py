"""Recognising models, and saying which are known where one is not."""

import pytest
from torch import nn

from synccache_core import UnsupportedModel, find, supported


class SomeOtherDiT(nn.Module):
    pass


def test_unknown_models_are_named_with_the_supported_list():
    with pytest.raises(UnsupportedModel) as error:
        find(SomeOtherDiT())
    assert "SomeOtherDiT" in str(error.value) and "Wan2.2-S2V" in str(error.value)


def test_supported_are_the_families_by_their_titles():
    assert {"Wan2.2-S2V", "WanDancer", "Wan-Animate"} <= set(supported()) and len(set(supported())) == len(supported())
