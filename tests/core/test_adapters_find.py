"""Recognising models, and saying which are known where one is not."""

import pytest
import torch
from torch import nn

from synccache_core import Grid, Pass, UnsupportedModel, View, find, serve, supported


class SomeOtherDiT(nn.Module):
    pass


def test_unknown_models_are_named_with_the_supported_list():
    with pytest.raises(UnsupportedModel) as error:
        find(SomeOtherDiT())
    assert "SomeOtherDiT" in str(error.value) and "Wan2.2-S2V" in str(error.value)


def test_supported_are_the_families_by_their_titles():
    known = {"InfiniteTalk", "Wan2.2-S2V", "WanDancer", "Wan-Animate", "Wan-Animate 2", "HuMo"}
    assert known <= set(supported()) and len(set(supported())) == len(supported())


class WanModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks, self.ref_conv = nn.ModuleList(nn.Linear(2, 2) for _ in range(3)), nn.Linear(2, 2)


class MultiTalkCrossAttnPatch:
    """ComfyUI's, by its name."""


class MultiTalkGetAttnMapPatch:
    ref_target_masks = torch.ones(2, 4)


VOICED = {"audio_embeds": torch.zeros(1, 3, 64, 768), "patches": {"attn2_patch": [print, MultiTalkCrossAttnPatch()]}}


def test_a_patch_makes_a_plain_class_one_of_a_family():
    model = WanModel()
    assert serve(model).name == serve(model, {"patches": {"attn2_patch": [print]}}).name == "WanModel"
    assert serve(model, VOICED).name == find(model, VOICED).name == "infinite_talk"
    assert serve(model, VOICED | {"audio_embeds": None}).name == "WanModel"
    assert serve(SomeOtherDiT(), VOICED).name == "SomeOtherDiT"
    with pytest.raises(UnsupportedModel, match="WanModel"):
        find(model)


def test_what_it_asks_of_the_patch_goes_to_its_cost():
    two = VOICED["patches"] | {"attn1_patch": [MultiTalkGetAttnMapPatch()]}
    adapters = serve(WanModel(), VOICED), serve(WanModel(), VOICED | {"patches": two})
    assert [adapter.cost.keywords for adapter in adapters] == [
        {"heard": 64, "channels": 768, "apart": 0}, {"heard": 64, "channels": 768, "apart": 2},
    ]  # fmt: skip


def test_where_the_video_of_infinite_talk_lies():
    adapter, model, grid = serve(WanModel(), VOICED), WanModel(), Grid(3, 2, 2)
    given = {"reference_latent": torch.empty(1, 16, 4, 6), "time_dim_concat": torch.empty(1, 16, 2, 4, 4)}
    more = {"context_latents": [torch.empty(1, 16, 1, 4, 4)]}
    for kwargs, wanted in (({}, View(12)), (given, View(12, 6, 8)), (more, View(12, 0, 4))):
        assert adapter.view(Pass(model, grid, lambda *_: None, (), kwargs), 0) == wanted
