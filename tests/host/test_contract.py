"""Every family that is served keeps the contract on ComfyUI's own class, through the hooks of a run."""

import pytest
import torch

from .conftest import TINY
from .doors import check, host_case, randomised
from .test_hunyuan_video import hunyuan_video, hunyuan_video_15
from .test_ltx_av import ltx_av

pytestmark = pytest.mark.host


def s2v(stage):
    import comfy.ldm.wan.model as wan
    import comfy.ops

    settings = {key: value for key, value in TINY.items() if key not in ("image_model", "model_type")}
    text = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(5))

    def make():
        kind = wan.WanModel_S2V
        return randomised(kind(**settings, device="cpu", dtype=torch.float32, operations=comfy.ops.disable_weight_init))

    def call(model, x, sigma, audio, options):
        times = torch.full((len(x),), 1000.0 * sigma)
        return model(x, times, text.expand(len(x), -1, -1), audio_embed=audio, transformer_options=options)

    core = stage.core
    adapter = core.find(make())
    return host_case(stage, make, adapter, core.Grid(3, 2, 2), (1, 16, 3, 4, 4), (1, 25, 8, 12), call, tolerance=1e-4)


FAMILIES = {"wan_s2v": s2v, "hunyuan_video": hunyuan_video, "hunyuan_video_15": hunyuan_video_15, "ltx_av": ltx_av}


@pytest.mark.parametrize("family", FAMILIES)
def test_contract(comfy, family):
    with torch.no_grad():
        assert len(check(comfy, FAMILIES[family](comfy))) >= 12
