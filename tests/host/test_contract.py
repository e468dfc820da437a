"""Every family that is served keeps the contract on ComfyUI's own class, through the hooks of a run."""

import pytest
import torch

from . import talking, test_humo, test_wan_animate, test_wan_animate2, test_wan_dancer
from .conftest import TINY, made
from .doors import check, host_case, randomised
from .test_hunyuan_video import hunyuan_video, hunyuan_video_15
from .test_ltx_av import ltx_av
from .test_minimax_h3 import minimax_h3

pytestmark = pytest.mark.host


def s2v(stage):
    import comfy.ldm.wan.model as wan

    text = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(5))

    def make():
        return randomised(made(wan.WanModel_S2V, TINY))

    def call(model, x, sigma, audio, options):
        times = torch.full((len(x),), 1000.0 * sigma)
        return model(x, times, text.expand(len(x), -1, -1), audio_embed=audio, transformer_options=options)

    core = stage.core
    adapter = core.find(make())
    return host_case(stage, make, adapter, core.Grid(3, 3, 4), (1, 16, 3, 6, 8), (1, 25, 8, 12), call, tolerance=1e-4)


FAMILIES = {
    "wan_s2v": s2v, "hunyuan_video": hunyuan_video, "hunyuan_video_15": hunyuan_video_15, "infinite_talk": talking.case,
    "wan_dancer": test_wan_dancer.contract_case, "wan_animate": test_wan_animate.contract_case,
    "wan_animate2": test_wan_animate2.contract_case, "humo": test_humo.contract_case,
    "ltx_av": ltx_av, "minimax_h3": minimax_h3,
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_contract(comfy, family):
    with torch.no_grad():
        assert len(check(comfy, FAMILIES[family](comfy))) >= 12
