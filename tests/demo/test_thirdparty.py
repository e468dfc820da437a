"""The Tiny Talker on diffsynth and diffusers, the same as on ComfyUI. Host tests skip where there is no ComfyUI."""
import json
import sys

import pytest
import torch

from demo import sampling, thirdparty
from demo.talker import DIT_FILE, VAE_FILE
from demo.worlds import WORLDS

pytestmark = pytest.mark.skipif(not DIT_FILE.is_file(), reason=f"{DIT_FILE.name} is not there")


@pytest.fixture(scope="module")
def talker():
    for package in ("diffsynth", "diffusers"):
        if thirdparty.importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (make test installs it)")
    return thirdparty.load_talker()


@pytest.fixture(scope="module")
def host(host_folder):
    from demo.comfy_host import Host
    return Host(host_folder)


@pytest.fixture
def inputs(talker):
    return thirdparty.example_inputs(talker.config)


def test_transformer_equals_comfyui(talker, host, inputs):
    ours, theirs = thirdparty.velocity(talker.dit, **inputs), host.velocity(DIT_FILE, **inputs)
    assert thirdparty.relative_l2(ours, theirs) < 1e-4


def test_wild_transformer_equals_comfyui(host):
    dit, config = thirdparty.load_dit(WORLDS["wild"].dit)
    inputs = thirdparty.example_inputs(config, latent=(3, 8, 8))
    ours, theirs = thirdparty.velocity(dit, **inputs), host.velocity(WORLDS["wild"].dit, **inputs)
    assert thirdparty.relative_l2(ours, theirs) < 1e-4


def test_transformer_equals_comfyui_at_another_size(talker, host):
    inputs = thirdparty.example_inputs(talker.config, latent=(5, 8, 12), seed=3)
    ours, theirs = thirdparty.velocity(talker.dit, **inputs), host.velocity(DIT_FILE, **inputs)
    assert thirdparty.relative_l2(ours, theirs) < 1e-4


def test_vae_equals_comfyui(talker, host):
    pixels = torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = talker.encode(pixels)
    raw = latents * talker.std + talker.mean
    assert thirdparty.relative_l2(raw, host.encode(VAE_FILE, pixels)) < 1e-4
    assert thirdparty.relative_l2(talker.decode(latents), host.decode(VAE_FILE, raw)) < 1e-4


@pytest.mark.parametrize(("steps", "shift"), [(40, 8.0), (20, 3.0), (7, 1.0), (1000, 5.0)])
def test_schedule_equals_comfyui(host, steps, shift):
    import comfy.model_sampling
    import comfy.samplers
    model = comfy.model_sampling.ModelSamplingDiscreteFlow()
    model.set_parameters(shift=shift)
    theirs = comfy.samplers.simple_scheduler(model, steps)
    torch.testing.assert_close(torch.tensor(sampling.simple_sigmas(steps, shift)), theirs, rtol=0, atol=1e-6)


def test_noise_equals_comfyui(host):
    import comfy.sample
    theirs = comfy.sample.prepare_noise(torch.zeros(1, 16, 9, 8, 8), 7)
    assert torch.equal(sampling.seeded_noise((1, 16, 9, 8, 8), 7), theirs)


def test_shapes(talker, inputs):
    out = thirdparty.velocity(talker.dit, **inputs)
    assert out.shape == inputs["x"].shape and out.isfinite().all()
    assert talker.decode(inputs["x"][:, :, :2]).shape == (1, 3, 5, 64, 64)


def test_audio_past_the_clip_changes_nothing(talker, inputs):
    longer = torch.cat([inputs["audio_embed"], torch.ones(1, 25, talker.config["audio_dim"], 8)], dim=-1)
    assert torch.equal(thirdparty.velocity(talker.dit, **inputs),
                       thirdparty.velocity(talker.dit, **{**inputs, "audio_embed": longer}))


def test_sys_modules_stay_tidy(talker):
    assert not set(thirdparty.STUBS) & set(sys.modules)


def test_stubs_never_replace_an_imported_package(monkeypatch):
    real = object()
    monkeypatch.setitem(sys.modules, "torch.optim", real)
    with thirdparty.stub_packages(("torch", "torch.optim")):
        assert sys.modules["torch.optim"] is real and sys.modules["torch"] is torch
    assert sys.modules["torch.optim"] is real


def test_missing_package_is_named():
    with pytest.raises(thirdparty.MissingPackage, match="no_such_package_1 is not installed"):
        with thirdparty.stub_packages(("no_such_package_1",)):
            pass


def test_audio_layers_that_the_class_would_misread_are_refused(talker):
    arguments = {**thirdparty.dit_arguments(talker.config), "num_layers": 11, "audio_inject_layers": [0, 1], "dim": 48}
    dit = thirdparty.diffsynth_class()(**arguments)
    with pytest.raises(ValueError, match="maps the audio layers"):
        thirdparty.check_injectors(dit, [0, 1])


def test_incomplete_metadata_is_named():
    with pytest.raises(ValueError, match="lacks num_heads"):
        thirdparty.dit_arguments({name: 1 for name in thirdparty.DIT_ARGUMENTS if name != "num_heads"})


def test_checkpoint_states_its_configuration():
    _, metadata = thirdparty.read_checkpoint(DIT_FILE)
    assert json.loads(metadata["config"])["transformer"]["model_type"] == "s2v"


def test_euler_is_exact_for_a_constant_velocity():
    out = sampling.euler(torch.ones(2), [1.0, 0.7, 0.0], lambda x, sigma: torch.full_like(x, 3.0))
    assert torch.allclose(out, torch.full((2,), -2.0))


def test_guidance():
    u, c = torch.tensor(1.0), torch.tensor(3.0)
    assert [float(sampling.guided(u, c, scale)) for scale in (0.0, 1.0, 2.0)] == [1.0, 3.0, 5.0]


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_step_counts_are_refused(steps):
    with pytest.raises(ValueError, match=f"not {steps}"):
        sampling.simple_sigmas(steps)
