"""UniPC, the sampler of ComfyUI's own Wan-S2V template: what SyncCache learns of it, and what correction gains."""

import sys
from types import SimpleNamespace

import pytest
import torch

pytestmark = pytest.mark.host
STEPS = 12


@pytest.fixture(scope="module")
def hooks(comfy):
    return sys.modules[comfy.host.__name__.replace(".host", ".hooks")]


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2", "dpmpp_2m", "deis", "ipndm", "ipndm_v", "lms"])
def test_the_response_tells_where_the_sampler_goes(comfy, hooks, name):
    """Outputs drawn at random: every position, and the result, is the sum that the response says."""
    sigmas = 8 * torch.linspace(1, 0, STEPS + 1) / (1 + 7 * torch.linspace(1, 0, STEPS + 1))
    before, state = sigmas.clone(), torch.get_rng_state()
    sampler = comfy.samplers.sampler_object(name)
    learnt = hooks.sampler_of(sampler, sigmas)
    assert learnt.name == name and torch.equal(sigmas, before) and torch.equal(state, torch.get_rng_state())
    given, seen = torch.randn(STEPS, 1, 2, 1, 3, 3, generator=torch.Generator().manual_seed(0)), []

    def model(x, sigma, **_):
        seen.append(x.clone())
        return x - sigma * given[len(seen) - 1]

    x = torch.randn(1, 2, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    seen.append(sampler.sampler_function(model, x, sigmas.clone(), {}, None, True))
    rows = torch.tensor(learnt.response)
    assert rows.shape == (STEPS + 1, STEPS) and rows.triu().abs().max() == 0
    for row, position in zip(rows, seen):
        expected = x + torch.tensordot(row, given, 1)
        assert (position - expected).abs().max() < 1e-3 * expected.abs().max()


def test_others_are_not_run_for_it(comfy, hooks):
    for name in ("euler", "res_multistep", "lcm"):
        found = hooks.sampler_of(comfy.samplers.sampler_object(name), torch.linspace(1, 0, 5))
        assert (found.name, found.response) == (name, ())


def test_a_function_that_wants_more_of_the_model_is_not_corrected(hooks):
    def sample_uni_pc(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return model.inner_model(x, sigmas[0])

    assert hooks.sampler_of(SimpleNamespace(sampler_function=sample_uni_pc), torch.linspace(1, 0, 5)).response == ()


def test_a_gap_is_made_up_for(comfy, hooks, monkeypatch):
    """Outputs on a parabola in sigma, forecast by lines: interpolation knows them, so that nothing but what the sampler
    takes back later than one step after a gap is left of the error.
    """
    sigmas, core = torch.linspace(1, 0, STEPS + 1), comfy.core
    corrector = sys.modules[f"{core.__name__}.reuse.corrector"]
    monkeypatch.setattr(corrector, "followed", lambda sigma: 1.0)  # outputs that do not depend on x
    sampler = comfy.samplers.sampler_object("uni_pc")
    layout = core.Layout(4, (0, 1, 3))

    def end(computed, correction):
        config = core.Config(
            schedule=tuple(step in computed for step in range(STEPS)), force_last=False, level="output", forecast_order=1,
            correction=correction,
        )
        cost = comfy.core.model.cost.parameter_cost(layout, 9, 1, 1)
        session = core.Session(config, layout, sigmas.tolist(), lambda *_: cost, sampler=hooks.sampler_of(sampler, sigmas))

        def model(x, sigma, **_):
            s = sigma.item()
            return session.predict(s, lambda: x - s * (3 - 2 * s + 5 * s * s), x)

        x = sampler.sampler_function(model, torch.ones(1, 1, 1, 1, 1), sigmas.clone(), {}, None, True).item()
        return x, session.report

    true, _ = end(range(STEPS), False)
    without, _ = end((0, 1, 5, 9, 10, 11), False)
    with_it, report = end((0, 1, 5, 9, 10, 11), True)
    assert report.corrections == 4 and report.bytes_held <= report.bytes_predicted == 4 * (2 + 6)
    print(true, without, with_it)
    assert abs(with_it - true) < 0.05 * abs(without - true)
