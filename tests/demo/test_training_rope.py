"""Training replaces the host's fused rotary embedding: both must be the same function."""

import pytest
import torch

from demo.talker import CONFIG
from demo.training.modelling import build_dit, initialise_dit, open_host

pytestmark = pytest.mark.host
SMALL = dict(CONFIG, dim=64, ffn_dim=64, num_heads=2, num_layers=2, audio_inject_layers=[0, 1])


@pytest.fixture(scope="module")
def host():
    """ComfyUI's module of the model, on the CPU."""
    try:
        open_host(cpu=True)
        import comfy.ldm.wan.model as wan
    except (FileNotFoundError, ImportError) as reason:
        pytest.skip(f"ComfyUI is not here, the rotary embedding of training is not compared: {reason}")
    return wan


@pytest.fixture(scope="module")
def model(host):
    return initialise_dit(build_dit(SMALL)).requires_grad_(True)


def inputs(batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return {"x": draw(batch, 16, 3, 8, 8), "timestep": torch.tensor([700.0, 30.0]), "context": draw(batch, 4, 64),
            "audio_embed": draw(batch, 25, CONFIG["audio_dim"], 12), "reference_latent": draw(batch, 16, 1, 8, 8),
            "control_video": torch.zeros(batch, 16, 3, 8, 8)}


def test_same_rotation(host, model):
    from demo.training.train_dit import rotate

    freqs = model.rope_encode(3, 8, 8, device="cpu", dtype=torch.float32)
    x = torch.randn(2, freqs.shape[1], 2, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(rotate(x, freqs), host.apply_rope1(x, freqs), rtol=1e-5, atol=2e-6)


def test_rotation_has_the_right_gradient(model):
    from demo.training.train_dit import rotate

    freqs = model.rope_encode(1, 4, 4, device="cpu", dtype=torch.float32)
    x = torch.randn(1, freqs.shape[1], 1, 32, requires_grad=True)
    weight = torch.randn_like(x)
    (rotate(x, freqs) * weight).sum().backward()
    back = freqs.transpose(-1, -2).contiguous()
    torch.testing.assert_close(x.grad, rotate(weight, back), rtol=1e-4, atol=1e-5)


def test_training_forward_equals_inference_forward(host, model):
    from demo.training.train_dit import rope_with_gradient

    arguments = inputs()
    fused = host.apply_rope1
    with torch.no_grad():
        expected = model(**arguments)
    with rope_with_gradient():
        assert host.apply_rope1 is not fused
        trained = model(**arguments)
    assert host.apply_rope1 is fused
    torch.testing.assert_close(trained, expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_part_that_is_trained(model):
    from demo.training.train_dit import rope_with_gradient

    with rope_with_gradient():
        model(**inputs()).square().mean().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert all(name.startswith("frame_packer") for name in missing)
    assert model.audio_injector.injector[0].q.weight.grad is not None


def test_training_vae_equals_the_host_vae(host):
    """Whole clips through newest time slices only: the host's own encode and decode give the same."""
    from demo.training import whole_clip
    from demo.training.flat import flatten_time
    from demo.training.modelling import build_vae, initialise_vae

    trained = flatten_time(initialise_vae(build_vae(8)))
    plain = build_vae(8)
    plain.load_state_dict(trained.state_dict())
    video = torch.rand(1, 3, 17, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.no_grad():
        latent = whole_clip.encode(trained, video)
        torch.testing.assert_close(latent, plain.encode(video), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(whole_clip.decode(trained, latent), plain.decode(latent), rtol=1e-3, atol=1e-4)
