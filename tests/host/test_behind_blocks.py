"""What other extensions run behind each block, as Uni3C does in ComfyUI: it is part of the residuals, and counts once."""

import pytest
import torch

from .talking import TalkStage, saved
from .test_infinite_talk import KINDS, each, sampled
from .test_semantics import close, run_sampler
from .test_view import twice

pytestmark = pytest.mark.host


class Behind:
    """Adds to the hidden state in place, and goes on from what it did behind the block before."""

    def __init__(self):
        self.blocks, self.state = [], None

    def __call__(self, args):
        hidden, index = args["img"], args["block_index"]
        if index == 0:
            self.state = torch.randn(hidden.shape[1:], generator=torch.Generator().manual_seed(1)) * 0.3
        self.blocks.append(index)
        self.state = torch.tanh(1.5 * self.state + 0.1)
        hidden += self.state.to(hidden)
        return args


def patched(model):
    model, patch = model.clone(), Behind()
    model.set_model_patch(patch, "double_block")
    return model, patch


SETTINGS = [{}, {"probe": False}, {"cache_ratio": 0.3}]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_perfect_residual_gives_the_computed_output(stage, settings):
    (model, patch), outs = patched(stage.model), []
    served, run, _ = stage.attach(model, schedule=(True, False, True), **settings)
    run_sampler(stage, served, twice(outs))
    assert [s.action for s in run.reports[0].steps] == ["compute", "reuse"] and run.reports[0].notes == []
    assert close(outs[1], outs[0])
    if not patch.blocks:
        pytest.skip("this ComfyUI runs nothing behind a Wan model's blocks")
    assert patch.blocks == list(range(7)) * 2, "its own state goes on"
    plain = []
    run_sampler(stage, stage.model, twice(plain))
    assert not close(outs[0], plain[0], 1e-2), "it matters"


@each
def test_the_same_where_audio_is_inside_blocks(comfy, kind, tmp_path):
    talk, outs = TalkStage(comfy, saved(tmp_path / "tiny_i2v.safetensors")), []
    voiced, given = talk.talk(**KINDS[kind])
    model, run, _ = talk.attach(patched(voiced)[0], schedule=(True, False, True))
    with torch.inference_mode():
        sampled(talk, model, given, twice(outs))
    assert run.reports[0].reused == 1 and close(outs[1], outs[0])


def test_all_computed_is_bit_identical_and_the_models_own_list_is_left_alone(stage):
    model, patch = patched(stage.model)
    plain = stage.sample(model)
    served, run, _ = stage.attach(model, schedule=(True,) * 12)
    assert torch.equal(stage.sample(served), plain) and run.reports[0].bytes_held > 0
    assert model.model_options["transformer_options"]["patches"]["double_block"] == [patch]


@pytest.mark.parametrize("live", [0.5, 1.0])
def test_live_rows_get_it_once_and_the_others_with_their_residual(stage, live):
    outs, mask = [], torch.zeros(1, 32, 32)
    mask[..., : int(32 * live)] = 1
    settings = {"schedule": (True, False, True), "live": (False, True, False), "live_reach": 0}
    served, run, _ = stage.attach(patched(stage.model)[0], mask, **settings)
    run_sampler(stage, served, twice(outs))
    assert [s.action for s in run.reports[0].steps] == ["compute", "live"]
    assert close(outs[1], outs[0], 1e-3)  # depths between blocks are kept in few bits
