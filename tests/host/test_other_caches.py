"""Caches of other extensions, recognised by what they do: a step to be computed that does not call every block is none."""

import pytest
import torch

pytestmark = pytest.mark.host
SCHEDULE = (True, True, False) * 4


def replaced_forward(stage, skips, monkeypatch):
    """The model's forward gives its last result again at the calls named, as CacheDiT's optimizers do."""
    dit = stage.model.get_model_object("diffusion_model")
    original, calls, kept = dit.forward, [0], []

    def forward(*args, **kwargs):
        calls[0] += 1
        if kept and calls[0] in skips:
            return kept[0]
        kept[:] = [original(*args, **kwargs)]
        return kept[0]

    monkeypatch.setattr(dit, "forward", forward)


def skipping_wrapper(model, skips):
    calls, kept = [0], []

    def wrapper(executor, *args, **kwargs):
        calls[0] += 1
        if kept and calls[0] in skips:
            return kept[0]
        kept[:] = [executor(*args, **kwargs)]
        return kept[0]

    model = model.clone()
    model.add_wrapper_with_key("diffusion_model", "some_cache_nobody_listed", wrapper)
    return model


def check(run, skipped, of):
    report = run.reports[0]
    assert report.finished
    assert any(f"another extension skipped {skipped} of {of} blocks" in note and "remove" in note for note in report.notes)
    lost = [step.index for step in report.steps if step.reason == "another extension skipped blocks"]
    assert all(report.steps[index].action == "reuse" for index in lost)
    return report, lost


@pytest.mark.parametrize("level", ["output", "residual"])
def test_a_forward_that_is_replaced(stage, level, monkeypatch):
    replaced_forward(stage, {4, 6, 7}, monkeypatch)
    model, run, _ = stage.attach(level=level, schedule=SCHEDULE)
    out = stage.sample(model)
    report, lost = check(run, 7, 7)
    # Passes 1 to 3 are steps 0, 1, 3 at level output, where reused steps make none; then nothing is reused any more.
    assert lost and lost[0] == {"output": 4, "residual": 3}[level]
    after = report.steps[lost[0] + 1 :]
    assert all(step.reason in ("caching stopped", "another extension skipped blocks") for step in after)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("inside", [True, False])
def test_a_wrapper_of_a_name_that_nobody_knows(stage, inside):
    """On the model before SyncCache, and after it."""
    if inside:
        model, run, _ = stage.attach(skipping_wrapper(stage.model, {5, 6}), schedule=(True,) * 12)
    else:
        model, run, _ = stage.attach(schedule=(True,) * 12)
        model = skipping_wrapper(model, {5, 6})
    stage.sample(model)
    report, lost = check(run, 7, 7)
    assert lost == [4, 5] and report.computed == 10


def test_a_calibration_beside_another_cache_records_nothing(stage):
    model, run = stage.execute(stage.comfy.ids["SyncCacheCalibrate"], model=skipping_wrapper(stage.model, {5}), replays=0)
    latent = stage.sample(model)
    with pytest.raises(stage.comfy.core.StateError, match="skipped 7 of 7 blocks.*remove it"):
        run.of(latent).recording()


def test_some_blocks_that_another_extension_does_not_call(stage, monkeypatch):
    """It runs the model's blocks itself, the first three only where it thinks that is enough."""
    model, run, _ = stage.attach(schedule=(True,) * 12)
    hooks, seen = stage.comfy.hooks, [0]
    replace = hooks.BlockHook._replace

    def fewer(self, args, extra):
        seen[0] += self.index == 0
        return {"img": args["img"] * 1.0} if seen[0] == 6 and self.index > 2 else replace(self, args, extra)

    monkeypatch.setattr(hooks.BlockHook, "_replace", fewer)
    stage.sample(model)
    report, lost = check(run, 4, 7)
    assert lost == [5] and report.computed == 11


def test_no_false_alarm(stage):
    """Skip-layer guidance, guidance that ends, and a model that never calls some block are no caches."""
    from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

    from .test_ranges import ranged

    settings = {"double_layers": "2,4", "single_layers": "", "scale": 2.0, "start_percent": 0.2, "end_percent": 0.7}
    model, run, _ = stage.attach(schedule=SCHEDULE)
    stage.sample(SkipLayerGuidanceDiT.execute(model, **settings).args[0], ranged(stage, 0.4, 0.6))
    assert not any("skipped" in note for note in run.reports[0].notes)
