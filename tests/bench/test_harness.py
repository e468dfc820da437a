"""What the benches share changes no figure."""

import pytest
import torch

from bench.harness import quicken
from demo import thirdparty


def test_a_quickened_vae_decodes_the_same():
    pytest.importorskip("diffusers")
    vae = thirdparty.load_vae()
    latent = torch.randn(1, 16, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = vae.decode(latent).sample
        replaced = [module for module in vae.modules() if "forward" in vars(module)]
        quicken(vae)
        quick = vae.decode(latent).sample
    changed = [module for module in vae.modules() if "forward" in vars(module)]
    assert not replaced and {type(module).__name__ for module in changed} == {"WanCausalConv3d", "WanRMS_norm"}
    assert (quick - plain).abs().max() < 1e-5
