"""Prompts and guidance that hold for a part of the run: what was reused before must not be taken for what holds now."""

import pytest

from .test_semantics import close, run_custom

pytestmark = pytest.mark.host
STEPS = 12


def ranged(stage, start, end):
    """Conditioning whose second prompt begins at `start` and whose guidance ends at `end` (share of the run)."""
    import node_helpers

    positive, negative, latent = stage.conditioning()
    other, _, _ = stage.conditioning(seed=5)
    first = node_helpers.conditioning_set_values(positive, {"start_percent": 0.0, "end_percent": start})
    second = node_helpers.conditioning_set_values(other, {"start_percent": start, "end_percent": 1.0})
    guidance = node_helpers.conditioning_set_values(negative, {"start_percent": 0.0, "end_percent": end})
    return first + second, guidance, latent


def grid(stage):
    return stage.comfy.samplers.calculate_sigmas(stage.model.get_model_object("model_sampling"), "simple", STEPS)


def actions(report):
    return "".join(step.action[0] for step in report.steps)


@pytest.mark.parametrize("level", ["output", "residual"])
def test_a_step_after_the_conditioning_changed_is_computed(stage, level, monkeypatch):
    conditioning, sigmas = ranged(stage, 0.46, 1.0), grid(stage)
    plain = run_custom(stage, stage.model, "euler", sigmas, conditioning)
    model, run, _ = stage.attach(level=level, schedule=(True,) + (False,) * 11)
    out, report = run_custom(stage, model, "euler", sigmas, conditioning), run.reports[0]
    start = stage.model.get_model_object("model_sampling").percent_to_sigma(0.46)
    boundary = next(i for i, sigma in enumerate(sigmas.tolist()) if sigma <= start)
    assert actions(report) == "c" + "r" * (boundary - 1) + "c" + "r" * (10 - boundary) + "c"
    assert report.steps[boundary].reason == "nothing cached"
    monkeypatch.setattr(stage.comfy.host, "ranges", lambda guider: [])
    blind = run_custom(stage, stage.attach(level=level, schedule=(True,) + (False,) * 11)[0], "euler", sigmas, conditioning)
    seeing, blind = (((x - plain).norm() / plain.norm()).item() for x in (out, blind))
    assert seeing < blind / 2 if level == "output" else seeing == blind  # residuals are kept per conditioning anyway


def test_lines_are_not_drawn_across_a_change(stage):
    """Guidance that ends: order 1 begins anew from the outputs without it."""
    conditioning, sigmas = ranged(stage, 0.0, 0.5), grid(stage)
    model, run, _ = stage.attach(level="output", forecast_order=1, schedule=(True, True, False) * 4)
    out, report = run_custom(stage, model, "euler", sigmas, conditioning), run.reports[0]
    assert report.finished and close(out, run_custom(stage, stage.model, "euler", sigmas, conditioning), 0.1)
