"""InfiniteTalk through ComfyUI's stock node: the voice stays fresh, frames that are written into x are not ours."""

import pytest
import torch

from .talking import TalkStage, saved
from .test_semantics import close
from .test_view import twice

pytestmark = pytest.mark.host
SCHEDULE = (True, True, False, False) * 3


@pytest.fixture(scope="module")
def checkpoint(comfy, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("talk") / "tiny_i2v.safetensors")


@pytest.fixture
def talk(comfy, checkpoint):
    return TalkStage(comfy, checkpoint)


def frames(seed=3, count=9, size=32):
    """Decoded pictures of a chunk."""
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(seed))


KINDS = {
    "one": {}, "two": {"speakers": 2}, "chained": {"before": frames()}, "two_chained": {"speakers": 2, "before": frames()},
}  # fmt: skip
each = pytest.mark.parametrize("kind", KINDS)


def test_the_plain_model_is_served_as_before(talk):
    """Its plans are those of its class."""
    served = talk.comfy.host.served
    assert (served(talk.plain).name, served(talk.plain).title) == ("WanModel", "WanModel")
    assert served(talk.model).name == "infinite_talk"
    model, run = talk.node(model=talk.plain, reuse="auto")
    talk.sample(model)
    assert run.reports[0].level == "output" and run.reports[0].blocks == 0


@each
def test_off_and_all_computed_are_bit_identical(talk, kind):
    voiced, given = talk.talk(**KINDS[kind])
    plain = talk.sample(voiced, given)
    off, _ = talk.node(model=voiced, target_speedup=1.0)
    computed, run, _ = talk.attach(voiced, schedule=(True,) * 12)
    assert torch.isfinite(plain).all()
    assert torch.equal(talk.sample(off, given), plain) and torch.equal(talk.sample(computed, given), plain)
    assert run.reports[0].computed == 12 and run.reports[0].bytes_held > 0


@each
def test_a_perfect_residual_gives_the_computed_output(talk, kind):
    voiced, given = talk.talk(**KINDS[kind])
    outs = []
    model, run, _ = talk.attach(voiced, schedule=(True, False, True))
    with torch.inference_mode():
        sampled(talk, model, given, twice(outs))
    assert run.reports[0].reused == 1 and close(outs[1], outs[0])


def sampled(talk, model, given, sampler):
    import comfy.sample
    import comfy.samplers

    positive, negative, latent = given
    noise = comfy.sample.prepare_noise(latent["samples"], 1)
    return comfy.sample.sample_custom(
        model, noise, 1.0, comfy.samplers.KSAMPLER(sampler), torch.tensor([1.0, 0.5, 0.25, 0.0]), positive, negative,
        latent["samples"], seed=1,
    )  # fmt: skip


@each
def test_the_voice_is_fresh_on_reused_steps(talk, kind, monkeypatch):
    """The same residuals, and another voice from the first reused step on."""
    voiced, given = talk.talk(**KINDS[kind])
    other = talk.talk(voice=1, **KINDS[kind])[0].model_options["transformer_options"]["audio_embeds"]
    outs = []
    for embeds in (None, other):
        model, run, _ = talk.attach(voiced, schedule=(True, True, False))
        steps = []

        def swap(executor, *args, embeds=embeds, steps=steps, **kwargs):
            steps.append(1)
            if len(steps) == 3 and embeds is not None:
                args[-1]["audio_embeds"] = embeds
            return executor(*args, **kwargs)

        model.add_wrapper_with_key("diffusion_model", "swap", swap)
        outs.append(talk.sample(model, given, steps=4))
        assert run.reports[0].reused == 1
    assert not close(outs[1], outs[0], 0.01)


@each
def test_cancel_leaves_nothing_behind(talk, kind):
    from comfy.model_management import InterruptProcessingException

    voiced, given = talk.talk(**KINDS[kind])
    before = list(voiced.model_options["transformer_options"]["patches"]["attn2_patch"])
    clean = talk.sample(talk.node(model=voiced)[0], given)
    for step in (0, 3, 6, 11):
        model, run = talk.node(model=voiced)
        count = []

        def cancel(executor, *args, count=count, step=step, **kwargs):
            count.append(1)
            if len(count) == step + 1:
                raise InterruptProcessingException()
            return executor(*args, **kwargs)

        model.add_wrapper_with_key("predict_noise", "cancel", cancel)
        with pytest.raises(InterruptProcessingException):
            talk.sample(model, given)
        model.remove_wrappers_with_key("predict_noise", "cancel")
        assert torch.equal(talk.sample(model, given), clean)
    assert voiced.model_options["transformer_options"]["patches"]["attn2_patch"] == before
