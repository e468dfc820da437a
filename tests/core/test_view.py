"""Where the video's tokens are: others in front of them, behind them, and more than anybody expected."""

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from demo.toys import toy_case
from synccache_core import Adapter, Config, Grid, Layout, Pass, UnknownView, View, attach, calibrate
from synccache_core.contract.case import running, sample
from synccache_core.model.adapters import find
from synccache_core.model.adapters.wan_s2v import view as wan_s2v
from synccache_core.model.cost import parameter_cost

GRID = Grid(1, 2, 3)
TWELVE = (True, True, False, False) * 3


def test_a_view_gives_the_rows_it_names_and_shares_their_memory():
    hidden = torch.arange(8.0).reshape(1, 8, 1)
    assert View(6, front=2).of(hidden).flatten().tolist() == [2, 3, 4, 5, 6, 7]
    assert View(3, 1, behind=None).of(hidden).flatten().tolist() == [1, 2, 3]
    View(5, 2, 1).of(hidden).zero_()
    assert hidden.flatten().tolist() == [0, 1, 0, 0, 0, 0, 0, 7]


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (View(6), "works on 8 tokens and not on the 6 expected: 6 of the video. Which"),
        (View(6, 3), "the 9 expected: 6 of the video, 3 in front of them. Which"),
        (View(2, 1, 4), "the 7 expected: 2 of the video, 1 in front of them, 4 behind them. Which"),
        (View(9, behind=None), "not on the 9 expected"),
    ],
)
def test_other_tokens_than_expected_are_said_in_a_sentence(view, said):
    with pytest.raises(UnknownView, match=said) as error:
        view.of(torch.zeros(1, 8, 1))
    assert "set reuse to outputs" in str(error.value)


class AddOne(nn.Module):
    def forward(self, hidden):
        return hidden + torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 1]).reshape(1, 8, 1)


class Counting(nn.Module):
    """Two tokens of text, then six of video; each of three blocks adds 1 to the video's."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(AddOne() for _ in range(3))

    def forward(self, hidden):
        for block in self.blocks:
            hidden = block(hidden)
        return hidden


def test_text_in_front_by_hand():
    layout = Layout(3, (0,))
    adapter = Adapter(
        "counting", "Counting", ("Counting",), lambda m: layout, lambda x: GRID,
        lambda m, g, t, text=None: parameter_cost(layout, 100, 1, 1), lambda m: 1, view=lambda one, block: View(6, front=2),
    )
    model, config, outs = Counting(), Config(schedule=(True, False, True), forecast_order=0), []
    with torch.no_grad(), attach(model, config, [1.0, 0.5, 0.2, 0.0], GRID, adapter=adapter) as session:
        for sigma in (1.0, 0.5):
            with session.evaluation(sigma):
                outs.append(model(torch.zeros(1, 8, 1)).flatten().tolist())
    assert [step.action for step in session.report.steps] == ["compute", "reuse"]
    assert outs == [[0, 0, 3, 3, 3, 3, 3, 3]] * 2


def moved(case, front):
    """The same model with its last `front` tokens in front: the toys' blocks do not mind in which order tokens stand."""
    other = toy_case(case.model.kind, front=front)
    other.x_shape, tensors = case.x_shape, case.tensors

    def turned(seed, batch=1):
        x, audio = tensors(seed, batch)
        return torch.cat([x[:, -front:], x[:, :-front]], dim=1), audio

    other.tensors = turned
    return other


MASK = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("kind", ["after", "inside"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"cache_ratio": 0.3, "merge": "freeze"}, {"cache_ratio": 0.3, "merge": "refresh"}, {"forecast_order": 2}],
)
def test_all_that_is_read_and_written_is_the_same_wherever_the_video_stands(kind, settings):
    """Outputs, the probe's changes under a mask, the heat map, bytes: of one model, its reference behind or in front."""

    def run(case):
        config = Config(schedule=TWELVE, omega=2.0, **{"forecast_order": 1, **settings})
        with torch.no_grad(), attach(case.model, config, case.sigmas, GRID, MASK, case.adapter) as session:
            outs = sample(case, session)
        report = session.report
        changes = [step.change or 0.0 for step in report.steps]
        assert report.notes == [] and report.reused == 5
        return torch.stack(outs), changes, report.heat, (report.bytes_held, report.tokens)

    case = toy_case(kind)
    behind, in_front = run(case), run(moved(case, 2))
    assert torch.allclose(behind[0], in_front[0], atol=1e-5)
    assert in_front[1] == pytest.approx(behind[1], rel=1e-4) and any(behind[1])
    assert np.allclose(in_front[2], behind[2], rtol=1e-3) and len(behind[2]) == 2
    assert in_front[3] == behind[3]


def test_without_a_probe_the_video_in_front_is_reused_as_well():
    outs = []
    for case in (toy_case(), moved(toy_case(), 2)):
        with torch.no_grad(), running(case, schedule=TWELVE, probe=False) as session:
            outs.append(torch.stack(sample(case, session)))
        assert session.report.reused == 5
    assert torch.allclose(*outs, atol=1e-5)


def test_a_calibration_measures_the_same_wherever_the_video_stands():
    def record(case):
        with torch.no_grad(), calibrate(case.model, case.sigmas, GRID, MASK, case.adapter) as session:
            for sigma in case.sigmas[:-1]:
                x, audio = case.tensors(0)
                session.predict(sigma, lambda x=x + sigma, s=sigma, a=audio: case.call(case.model, x, s, a))
            return session.recording()

    behind, in_front = (record(case) for case in (toy_case(), moved(toy_case(), 2)))
    assert ("residual", "human") in behind.grams
    for key, gram in behind.grams.items():
        assert np.allclose(in_front.grams[key], gram, rtol=1e-3), key
    assert np.allclose(in_front.audio, behind.audio, rtol=1e-3) and in_front.boundaries == behind.boundaries


def unexpected(front=2, text=(0, 0), **stated):
    """A toy with more tokens than its adapter knows of."""
    case = toy_case(front=front, text=text)
    case.adapter = replace(case.adapter, view=lambda one, block: View(6, **{"behind": 2, **stated}))
    return case


@pytest.mark.parametrize(
    "case",
    [lambda: unexpected(), lambda: unexpected(0, (5, 3)), lambda: unexpected(0, (2, 3)), lambda: unexpected(0, behind=0)],
    ids=["in front", "in the last blocks", "in the middle", "behind"],
)
@pytest.mark.parametrize("settings", [{}, {"probe": False}, {"schedule": None, "target_speedup": 3.0}])
def test_tokens_that_nobody_expected_are_computed_and_said_once(case, settings, caplog):
    case = case()
    with torch.no_grad(), running(case, **{"schedule": TWELVE, **settings}) as session:
        outs = sample(case, session)
        assert session.residuals.empty
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(outs, sample(case), strict=True))
    report = session.report
    assert report.computed == 12 and len(caplog.records) == 1
    assert len(report.notes) == 1 and report.notes[0].startswith("caching stopped: the model works on ")
    assert {step.reason for step in report.steps} == {"caching stopped"}


def test_whole_outputs_are_reused_whatever_the_tokens_are():
    case = unexpected()
    with torch.no_grad(), running(case, schedule=TWELVE, level="output") as session:
        for sigma in case.sigmas[:-1]:
            x, audio = case.tensors(0)
            session.predict(sigma, lambda x=x + sigma, s=sigma, a=audio: case.call(case.model, x, s, a))
    assert session.report.reused == 5 and session.report.notes == []


@pytest.mark.parametrize("step", range(1, 11))
def test_more_tokens_in_the_middle_of_a_run_end_its_reuse(step):
    case = toy_case()
    case.adapter = replace(case.adapter, view=lambda one, block: View(6, behind=2))
    x, audio = case.tensors(0)
    more = torch.cat([x[:, -1:], x], dim=1)
    with torch.no_grad(), running(case, schedule=TWELVE) as session:
        for index, sigma in enumerate(case.sigmas[:-1]):
            with session.evaluation(sigma):
                out = case.call(case.model, (more if index >= step else x) + sigma, sigma, audio)
            if index >= step:
                assert torch.equal(out, toy_case().model(more + sigma, sigma, audio))
    assert all(entry.action == "compute" for entry in session.report.steps[step:])
    assert len(session.report.notes) == 1 and "9 tokens and not on the 8" in session.report.notes[0]


def test_more_text_in_the_middle_of_a_reused_pass_computes_the_rest_of_it():
    """The probe's block still fits, so the pass was to be reused; at block 3 there are more tokens than stated."""
    case = toy_case(text=(3, 2))
    case.adapter = replace(case.adapter, view=lambda one, block: View(6, 2 if block >= 3 else 0, 2))
    x, audio = case.tensors(0)
    outs = []
    with torch.no_grad(), running(case, schedule=TWELVE) as session:
        for index, sigma in enumerate(case.sigmas[:4]):
            if index == 2:
                case.model.text = 5
                for block in list(case.model.blocks)[3:]:
                    block.front = 5
            with session.evaluation(sigma):
                outs.append(case.call(case.model, x, 1.0, audio))
    assert [step.action for step in session.report.steps] == ["compute"] * 4 and len(session.report.notes) == 1
    assert "13 tokens and not on the 10" in session.report.notes[0]
    assert torch.equal(outs[3], case.model(x, 1.0, audio))
    assert torch.isfinite(outs[2]).all()


def test_the_branches_of_a_pass_may_differ_in_what_stands_in_front():
    """Only the positive one has a reference: another place, the same residuals of the video."""
    case = toy_case()
    front = {8: 0, 11: 3}
    case.adapter = replace(case.adapter, view=lambda one, block: View(6, front[one.arguments["x"].shape[1]], 2))
    x, audio = case.tensors(0)
    model = toy_case(front=3).model
    with torch.no_grad(), attach(model, Config(schedule=(True, False, True), forecast_order=0), case.sigmas, GRID,
                                 adapter=case.adapter) as session:
        outs = []
        for sigma in (1.0, 0.9):
            with session.evaluation(sigma):
                for name, given, reference in (("positive", torch.cat([x[:, :3], x], 1), 3), ("negative", x, 0)):
                    for block in model.blocks:
                        block.front = model.front = reference
                    with session.branch(name):
                        outs.append(model(given, 1.0, audio))
    assert session.report.reused == 1 and session.report.notes == []
    for computed, reused in zip(outs[:2], outs[2:]):
        assert torch.allclose(reused, computed, atol=1e-5)


def test_a_pass_that_is_through_holds_none_of_its_inputs():
    """An evaluation may have many, one for each context window."""
    case = toy_case()
    x, audio = case.tensors(0)
    with torch.no_grad(), running(case, schedule=TWELVE) as session, session.evaluation(1.0):
        case.call(case.model, x, 1.0, audio)
        held = weakref.ref(x)
        del x
        gc.collect()
        assert held() is None


def test_arguments_have_the_names_of_the_forward():
    def forward(x, timestep, time_dim_concat=None, **kwargs):
        """As of ComfyUI's Wan classes."""

    given = Pass(nn.Identity(), GRID, forward, ("x", "t", "more"), {"reference_latent": "r"}).arguments
    assert (given["x"], given["time_dim_concat"], given["reference_latent"]) == ("x", "more", "r")
    assert Pass(nn.Identity(), GRID, lambda *args, **kwargs: None, ("x",), {"reference_latent": "r"}).arguments == {
        "reference_latent": "r"
    }


def test_an_adapter_that_fails_to_say_it_ends_the_caching_only():
    case = toy_case()
    case.adapter = replace(case.adapter, view=lambda one, block: View(one.arguments["no such argument"]))
    with torch.no_grad(), running(case, schedule=TWELVE) as session:
        outs = sample(case, session)
        assert torch.equal(outs[-1], sample(toy_case())[-1])
    assert session.report.reused == 0 and "KeyError: 'no such argument'" in session.report.notes[0]


def test_a_calibration_that_does_not_know_the_video_says_so():
    case = unexpected()
    with torch.no_grad(), calibrate(case.model, case.sigmas, GRID, adapter=case.adapter) as session:
        for sigma in case.sigmas[:-1]:
            x, audio = case.tensors(0)
            session.predict(sigma, lambda x=x + sigma, s=sigma, a=audio: case.call(case.model, x, s, a))
        assert session.recording() is None
    assert session.report.notes[0].startswith("calibration stopped: the model works on 10 tokens and not on the 8 expected")


class WanModel_S2V(nn.Module):
    """ComfyUI's. Of its arguments alone is it known how many tokens there are."""


class WanS2VModel(nn.Module):
    """Diffsynth's, which gives no arguments by these names."""


class Adding(nn.Module):
    def forward(self, x, e=None):
        return x + 0.1 * torch.tanh(x)


def official_s2v() -> nn.Module:
    """With the name and the forward's signature of Wan-Video/Wan2.2, wan/modules/s2v/model_s2v.py: six tokens of video, then
    those of the reference and of the motion frames, of which it returns the video's.
    """

    def forward(
        self, x, t, context, seq_len, ref_latents, motion_latents, cond_states, audio_input=None, motion_frames=(17, 5),
        add_last_motion=2, drop_motion_frames=False, *extra_args, **extra_kwargs,
    ):
        hidden = torch.cat([x[0], ref_latents[0], motion_latents[0]], 1)
        for index, block in enumerate(self.blocks):
            hidden = block(hidden, e=t)
            if index in self.audio_injector.injected_block_id:
                hidden[:, :6] = hidden[:, :6] + 0.1
        return [hidden[:, :6]]

    model = type("WanModel_S2V", (nn.Module,), {"forward": forward})()
    model.blocks = nn.ModuleList(Adding() for _ in range(10))
    model.audio_injector = SimpleNamespace(injected_block_id={0: 0, 4: 1, 8: 2})
    return model


@pytest.mark.parametrize("by_name", [False, True])
def test_the_official_s2v_is_cached_although_it_has_the_name_of_comfyuis(by_name):
    model, sigmas = official_s2v(), [1 - index / 12 for index in range(13)]
    rest = {"ref_latents": [torch.randn(1, 2, 8)], "motion_latents": [torch.randn(1, 3, 8)], "cond_states": None}
    cost = parameter_cost(Layout(10, (0, 4, 8)), 9, 1, 1)
    adapter = replace(find(model), cost=lambda model, grid, tokens, text=None: cost)
    with torch.no_grad(), attach(model, Config(), sigmas, Grid(1, 2, 3), adapter=adapter) as session:
        for sigma in sigmas[:-1]:
            with session.evaluation(sigma):
                given = [torch.randn(1, 6, 8)], torch.tensor([sigma]), None, 6
                model(*given, **rest) if by_name else model(*given, *rest.values())
    assert adapter.name == "wan_s2v" and session.report.reused > 0 and session.report.notes == []


def test_wan_s2v_counts_every_token():
    """Of ComfyUI's: a reference of 6 x 4 tokens, one of a size that is not padded, motion frames at three scales."""
    grid, latent = Grid(3, 6, 4), torch.zeros(1, 16, 3, 12, 8)

    def behind(**kwargs):
        return wan_s2v(Pass(WanModel_S2V(), grid, lambda x, **kwargs: None, (latent,), kwargs), 5)

    assert behind() == behind(reference_latent=None) == View(72)
    assert behind(reference_latent=torch.zeros(1, 16, 1, 12, 8)) == View(72, behind=24)
    assert behind(reference_latent=torch.zeros(1, 16, 2, 13, 9)) == View(72, behind=48)
    assert behind(reference_motion=torch.zeros(1, 16, 19, 12, 8)) == View(72, behind=24 + 3 * 2 + 4 * 1)
    assert behind(time_dim_concat=torch.zeros(1, 16, 1, 11, 7)) == View(72, behind=24)
    assert wan_s2v(Pass(WanS2VModel(), grid, lambda *args: None, (latent,)), 5) == View(72, behind=None)
