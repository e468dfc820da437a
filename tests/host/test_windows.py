"""ComfyUI's context windows: those that stay have residuals of their own, those that move have none; masks are cut."""

import pytest
import torch

from .test_semantics import close

pytestmark = pytest.mark.host
FRAMES = 25  # of pixels, 7 of the latent


@pytest.fixture
def conditioning(stage):
    return stage.conditioning(frames=FRAMES)


def windowed(model, schedule="standard_static", anchor=True):
    """Windows of 4 latent frames, 1 of which overlaps. anchor: newer hosts put a frame before the later ones."""
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    settings = {"context_length": 4, "context_overlap": 1, "context_stride": 1, "closed_loop": False, "dim": 2}
    choices = {"context_schedule": schedule, "fuse_method": "flat", "freenoise": False}
    made = ContextWindowsManualNode.execute(model, **settings, **choices).args[0]
    if not anchor:
        made.model_options["context_handler"].causal_window_fix = False
    return made


def test_windows_that_stay_are_kept_apart_and_warned_about(stage, conditioning):
    plain = stage.sample(windowed(stage.model), conditioning)
    assert torch.equal(stage.sample(windowed(stage.attach(schedule=(True,) * 12)[0]), conditioning), plain)
    model, run, _ = stage.attach(schedule=(True, True, False) * 4)
    out = stage.sample(windowed(model), conditioning)
    report = run.reports[0]
    assert report.branches == 4 and report.reused == 3 and report.level == "residual"
    assert any("context windows" in note for note in report.notes)
    assert close(out, plain, 0.3)


@pytest.mark.parametrize("schedule", ["standard_uniform", "looped_uniform"])
def test_of_windows_that_move_outputs_are_reused(stage, conditioning, schedule):
    model, run = stage.node(target_speedup=2.0)
    stage.sample(windowed(model, schedule), conditioning)
    report = run.reports[0]
    assert report.level == "output" and report.reused == 6 and report.bytes_held < 20 * 16 * 7 * 4 * 4 * 4
    assert any("standard_static" in note for note in report.notes)


def test_a_plan_of_residuals_goes_the_same_way(stage, conditioning):
    model, run, _ = stage.attach(schedule=(True, True, False) * 4, groups=((1,), (2, 3)))
    stage.sample(windowed(model, "standard_uniform"), conditioning)
    assert run.reports[0].level == "output" and run.reports[0].reused == 3


def test_paper_computes_windows_that_move_and_says_so(stage, conditioning):
    model, run = stage.node(preset="Paper")
    out = stage.sample(windowed(model, "standard_uniform"), conditioning)
    report = run.reports[0]
    assert report.reused == 0 and report.bytes_held == 0
    assert any("set context_schedule to standard_static" in note for note in report.notes)
    assert torch.equal(out, stage.sample(windowed(stage.model, "standard_uniform"), conditioning))


def test_windows_of_a_video_that_one_holds_are_none(stage):
    model, run = stage.node()
    stage.sample(windowed(model, "standard_uniform"))  # 3 latent frames
    assert run.reports[0].level == "residual" and not any("windows move" in note for note in run.reports[0].notes)


@pytest.mark.parametrize("frames", [1, 7, FRAMES])
@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform"])
def test_a_mask_of_the_whole_video_is_cut(stage, conditioning, schedule, frames, monkeypatch):
    """The person is there in the last three latent frames only."""
    mask, seen, history = torch.zeros(frames, 32, 32), {}, stage.comfy.core.run.session.ProbeHistory
    mask[{1: 0, 7: 4, FRAMES: 13}[frames] :, :, :16] = 1.0
    fit = history.fit_mask

    def look(self, grid):
        said = fit(self, grid)
        seen[grid.window] = self._weights[grid].reshape(grid.frames, -1).amax(dim=1).tolist()
        return said

    monkeypatch.setattr(history, "fit_mask", look)
    model, run = stage.node(human_mask=mask)
    stage.sample(windowed(model, schedule), conditioning)
    assert run.reports[0].finished and run.reports[0].computed < 12
    if schedule == "standard_static":
        there = [1.0] * 7 if frames == 1 else [0.0] * 4 + [1.0] * 3
        assert seen == {window: [there[at] for at in window] for window in seen}
        assert {window[-4:] for window in seen} == {(0, 1, 2, 3), (3, 4, 5, 6)}


def test_a_mask_of_another_length_is_refused_with_the_videos(stage, conditioning):
    model, _ = stage.node(human_mask=torch.ones(13, 32, 32))
    with pytest.raises(stage.comfy.core.BadMask, match=r"13 frames; the video has 25 frames \(7 latent .*: use 1, 7 or 25"):
        stage.sample(windowed(model), conditioning)


def test_a_calibration_takes_such_a_mask_too(stage, conditioning):
    mask = torch.zeros(FRAMES, 32, 32)
    mask[:, :, :16] = 1.0
    model, run = stage.execute(stage.comfy.ids["SyncCacheCalibrate"], model=stage.model, human_mask=mask)
    stage.sample(windowed(model, anchor=False), conditioning)
    assert run.reports[0].computed == 12 and not any("stopped" in note for note in run.reports[0].notes)


def test_live_needs_the_whole_video(stage):
    mask = torch.zeros(1, 96, 96)
    mask[:, :16, :16] = 1.0
    model, run = stage.node(human_mask=mask, live="person")
    stage.sample(windowed(model), stage.conditioning(frames=FRAMES, size=96), cfg=6.0)
    report = run.reports[0]
    assert report.reused > 0 and report.lived == 0
    assert any(note == "live has no effect: context windows cut the video" for note in report.notes), report.notes


def test_room_is_asked_for_all_windows(stage):
    """Two windows of 4 latent frames of 7 hold 8 / 7 of the video's residuals; those that move hold none."""
    core, host = stage.comfy.core, stage.comfy.host
    shape, config, sampler = [1, 16, 7, 4, 4], core.Config(level="residual", cache_ratio=1.0), core.Sampler()
    whole, stay, move = (
        host.residual_bytes(model, shape, config, sampler)
        for model in (stage.model, windowed(stage.model), windowed(stage.model, "standard_uniform"))
    )
    assert stay == pytest.approx(whole * 8 / 7) and move < whole / 4
