"""LIVE evaluations in real sampling runs of ComfyUI's WanModel_S2V: cost, attention override, motion tokens, the node."""

from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

pytestmark = pytest.mark.host
SCHEDULE = (True, True, False, False) * 3
OVERRIDE = "optimized_attention_override"


def spot(size=6):
    """A mask of the first token of a latent of that many tokens a side."""
    mask = torch.zeros(1, size, size)
    mask[:, 0, 0] = 1
    return mask


def deaf(model, blocks: str, attention: str):
    """A clone whose blocks' attention is without what the options say of it."""

    def forward(run, *args, transformer_options=None, **kwargs):
        options = {key: value for key, value in (transformer_options or {}).items() if key != OVERRIDE}
        return run(*args, transformer_options=options, **kwargs)

    model = model.clone()
    for index, block in enumerate(getattr(model.get_model_object("diffusion_model"), blocks)):
        run = getattr(block, attention).forward
        model.add_object_patch(f"diffusion_model.{blocks}.{index}.{attention}.forward", partial(forward, run))
    return model


def attach(stage, mask=None, **config):
    handle = stage.comfy.run.RunHandle()
    settings = stage.comfy.core.Config(**{"forecast_order": 0, "schedule": SCHEDULE, "live": True, **config})
    return stage.comfy.host.attach(stage.model, settings, spot() if mask is None else mask, handle), handle


@pytest.mark.parametrize("motion", [False, True])
@pytest.mark.parametrize("settings", [{}, {"probe": False}, {"cache_ratio": 0.3}, {"level": "output"}])
def test_a_run_with_live_steps(stage, settings, motion):
    """Closer to the uncached latent than reuse, and in it more so where it is live."""
    given, outs = stage.conditioning(size=96, motion=motion), {}
    plain = stage.sample(stage.model, given)
    for live in (False, True):
        model, run = attach(stage, **settings, live=live)
        outs[live], report = stage.sample(model, given), run.reports[0]
        assert report.notes == [] and report.lived == (5 if live else 0) and report.reused == 5
    inside = (Ellipsis, slice(0, 4), slice(0, 4))
    errors = {live: (out - plain)[inside].norm().item() for live, out in outs.items()}
    assert errors[True] < errors[False]


def test_what_runs_in_the_place_of_a_block_is_given_all_rows(stage):
    """Of another extension: whether it could go with fewer is not known."""
    rows = set()

    def counting(args, extra):
        rows.add(args["img"].shape[1])
        return extra["original_block"](args)

    theirs, handle = stage.model.clone(), stage.comfy.run.RunHandle()
    theirs.set_model_patch_replace(counting, "dit", "double_block", 3)
    config = stage.comfy.core.Config(forecast_order=0, schedule=SCHEDULE, live=True)
    stage.sample(stage.comfy.host.attach(theirs, config, spot(), handle))
    report = handle.reports[0]
    assert report.notes == ["live has no effect: another extension runs in the place of blocks or their attention"]
    assert (report.lived, report.reused, len(rows)) == (0, 5, 1)


def test_what_runs_in_the_place_of_attention_is_given_all_rows(stage):
    """Such as a memory efficient kernel that asks nobody whose keys it shall hear."""
    theirs, handle = deaf(stage.model, "blocks", "self_attn"), stage.comfy.run.RunHandle()
    config = stage.comfy.core.Config(forecast_order=0, schedule=SCHEDULE, live=True)
    given = stage.conditioning(size=96)
    out = stage.sample(stage.comfy.host.attach(theirs, config, spot(), handle), given)
    reused, run = attach(stage, live=False)
    assert torch.equal(out, stage.sample(reused, given)) and run.reports[0].lived == handle.reports[0].lived == 0
    assert handle.reports[0].notes == [
        "live has no effect: another extension runs in the place of blocks or their attention"
    ]


def test_all_rows_live_are_the_uncached_run(stage):
    given = stage.conditioning(size=64)
    model, run = attach(stage, torch.ones(1, 1, 1))
    out = stage.sample(model, given)
    assert run.reports[0].lived == 5
    assert torch.allclose(out, stage.sample(stage.model, given), atol=1e-4)


def test_the_count_of_a_live_step(stage, monkeypatch):
    """By PyTorch's counter, which does not see into the CPU's fused attention."""
    import comfy.ldm.modules.attention as attention
    import comfy.ldm.wan.model as wan

    monkeypatch.setattr(wan, "optimized_attention", attention.attention_basic)
    counted, given = [], stage.conditioning(size=192)

    def count(executor, *args, **kwargs):
        with FlopCounterMode(display=False) as counter:
            out = executor(*args, **kwargs)
        counted.append(counter.get_total_flops())
        return out

    model, run = attach(stage, spot(12), schedule=(True, False), force_last=False, probe=False, live_reach=3)
    model.add_wrapper_with_key("diffusion_model", "count", count)
    with torch.no_grad():
        stage.sample(model, given, steps=2)
    report = run.reports[0]
    assert [step.action for step in report.steps] == ["compute", "live"] and len(counted) in (2, 4)
    assert counted[-1] / counted[0] == pytest.approx(report.live_share, rel=0.05)
    assert report.live_share < 0.6


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_override_that_is_there_is_asked_and_is_all_that_is_left(stage, cancelled):
    asked, lengths = [], set()

    def theirs(function, q, k, v, *args, **kwargs):
        asked.append(1)
        lengths.add((q.shape[1], k.shape[1]))
        return function(q, k, v, *args, **kwargs)

    def cancel(executor, *args, **kwargs):
        if cancelled and len(lengths) > 2:
            raise KeyboardInterrupt
        return executor(*args, **kwargs)

    model, run = attach(stage)
    model.model_options["transformer_options"][OVERRIDE] = theirs
    model.add_wrapper_with_key("diffusion_model", "cancel", cancel)
    given = stage.conditioning(size=96)
    if cancelled:
        with pytest.raises(KeyboardInterrupt):
            stage.sample(model, given)
    else:
        stage.sample(model, given)
        assert run.reports[0].lived == 5
    rows = 3 * 36 + 36  # of the video, and of the reference
    live = 3 * 4 + 36
    assert (rows, rows) in lengths and (live, rows) in lengths and not any(q < k < rows for q, k in lengths if k > 3)
    assert model.model_options["transformer_options"][OVERRIDE] is theirs
    before = len(asked)
    stage.sample(stage.model, given, steps=1)
    assert len(asked) == before


def test_without_a_mask_live_is_off_and_said(stage):
    handle = stage.comfy.run.RunHandle()
    config = stage.comfy.core.Config(forecast_order=0, schedule=SCHEDULE, live=True)
    stage.sample(stage.comfy.host.attach(stage.model, config, None, handle))
    assert handle.reports[0].notes == ["live has no effect: it needs a human_mask"]
    assert handle.reports[0].lived == 0 and handle.reports[0].reused == 5


def test_the_node(stage, comfy, monkeypatch):
    """Off where nobody asks; whole outputs beside LIVE steps at the speed that was asked for, where a run starts still."""
    given, still = stage.conditioning(size=96), comfy.core.run.steps.STILL
    model, run = stage.node(human_mask=spot(), live="person", reuse="auto", target_speedup=2.0)
    stage.sample(model, given, steps=20, cfg=6.0)
    assert run.reports[0].lived == 0 and run.reports[0].computed == 10
    assert run.reports[0].notes == ["no step is live: the video changes too much from step to step"]
    monkeypatch.setattr(comfy.core.run.steps, "STILL", 99 * still)  # random weights
    model, run = stage.node(human_mask=spot(), live="person", reuse="auto", target_speedup=2.0)
    stage.sample(model, given, steps=20, cfg=6.0)
    report = run.reports[0]
    assert report.level == "output" and report.lived > 0 and report.notes == [] and report.speedup_ideal > 1.8
    assert report.live(20)["cells"].count("l") == report.lived == report.live_budget and report.livable
    model, run = stage.node(human_mask=spot())
    stage.sample(model, given)
    assert run.reports[0].lived == 0 and run.reports[0].settings["live"] is False
    with pytest.raises(comfy.core.SyncCacheError, match="live must be one of"):
        stage.node(live="face")
