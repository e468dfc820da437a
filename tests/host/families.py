"""What every family keeps when it is sampled: a base for the Test class of its file, and promises to ask for one by one."""

import pytest
import torch

from .test_planned import calibrate, calibrated, computed_steps, plan_of
from .test_semantics import close, run_sampler

SCHEDULE = (True, True, False, False) * 3


def cancel_leaves_nothing(stage, passes=(0, 1, 3)) -> None:
    """A run that is cancelled after so many forward passes changes nothing of those after it."""
    from comfy.model_management import InterruptProcessingException

    model, _ = stage.node()
    clean = stage.sample(model)

    def cancel(executor, *args, **kwargs):
        if count[0] == 0:
            raise InterruptProcessingException()
        count[0] -= 1
        return executor(*args, **kwargs)

    for done in passes:
        count = [done]
        model.add_wrapper_with_key("diffusion_model", "cancel", cancel)
        with pytest.raises(InterruptProcessingException):
            stage.sample(model, seed=5)
        model.remove_wrappers_with_key("diffusion_model", "cancel")
        assert torch.equal(stage.sample(model), clean)
    assert "synccache" not in stage.model.model_options["transformer_options"]


def plan_is_made_and_taken(stage, adapter: str, speedup: float) -> None:
    """From the Calibrate node by the optimizer, at residual level, to the run that it plans."""
    plain, run = calibrated(stage)
    recording, optimizer = run.of(None).recording(), stage.comfy.ids["SyncCacheScheduleOptimizer"]
    assert recording.adapter == adapter and {level for level, _ in recording.grams} == {"output", "residual"}
    asked = {"target_speedup": speedup, "level": "residual"}
    model, planned = stage.node(plan_json=stage.execute(optimizer, run=run, samples={"samples": plain}, **asked)[0])
    out, report = stage.sample(model), planned.reports[0]
    assert report.level == "residual" and report.reused > 2 and close(out, plain, 0.25)


class OfAFamily:
    """Its file has a fixture `stage`, a Stage whose conditioning is of the family's stock node.

    heard: keyword of the forward pass that holds what stays fresh, such as the audio. tokens: of the first block. refreshes:
    of a pass. refresher(model): a module of the class that refreshes, which has no other use in a pass. block_run: the
    block's method that the host calls.
    """

    heard = "audio_embed"
    tokens = 0
    refreshes = 0
    block_run = "forward"

    @staticmethod
    def refresher(model):
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def as_the_host_executes_nodes(self):
        with torch.inference_mode():
            yield

    @staticmethod
    def plain(stage):
        """The latent without SyncCache, sampled once."""
        if not hasattr(stage, "sampled"):
            stage.sampled = stage.sample(stage.model)
        return stage.sampled

    def test_off_is_bit_identical(self, stage):
        model, run = stage.node(target_speedup=1.0)
        assert torch.equal(stage.sample(model), self.plain(stage))
        assert model.wrappers == stage.model.wrappers and run.reports == []

    def test_all_computed_equals_the_plain_run(self, stage):
        model, run, _ = stage.attach(schedule=(True,) * 12)
        assert close(stage.sample(model), self.plain(stage), 1e-6)
        report = run.reports[0]
        assert report.computed == 12 and report.bytes_held > 0 and report.notes == [] and report.tokens == self.tokens

    def test_the_node_reuses_residuals(self, stage, monkeypatch):
        dit = stage.comfy.guider.diffusion_model(stage.model)
        adapter = stage.comfy.core.find(dit)
        blocks = self.counting(monkeypatch, dit.blocks[0], self.block_run)
        refreshed = self.counting(monkeypatch, self.refresher(dit), "forward") if self.refreshes else []
        passes = self.counting(monkeypatch, dit, "forward")
        model, run = stage.node()
        out = stage.sample(model)
        report, layout = run.reports[0], adapter.layout(dit)
        assert report.level == "residual" and report.reused > 3 and report.finished
        assert all("out of reach" in note for note in report.notes)  # of so small a model the embeddings cost most
        each = len(passes) // len(report.steps)  # of an evaluation: one where guidance is batched
        assert len(blocks) == each * (report.computed * layout.blocks + report.reused * layout.probe_blocks)
        assert len(refreshed) == len(passes) * self.refreshes and layout.refreshes == self.refreshes
        assert close(out, self.plain(stage), 0.2) and not torch.equal(out, self.plain(stage))
        assert run.of(None).summary().startswith(adapter.title)

    @staticmethod
    def counting(monkeypatch, module, name: str) -> list:
        """Grows by one with each call of a method of the module's class."""
        calls, original = [], getattr(type(module), name)

        def counted(self, *args, **kwargs):
            calls.append(1)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(type(module), name, counted)
        return calls

    @pytest.mark.parametrize("settings", [{}, {"cache_ratio": 0.4}])
    def test_a_perfect_residual_gives_the_computed_output(self, stage, settings):
        first, second = self.twice(stage, 0.0, **settings)
        assert close(second, first, 1e-5)

    def test_what_stays_fresh_is_heard_on_a_reused_step(self, stage):
        (_, same), (_, other) = self.twice(stage, 0.0), self.twice(stage, 0.5)
        assert not close(other, same, 1e-3)

    def twice(self, stage, shift: float, **settings) -> list:
        """The outputs of an evaluation that is computed, and of the same that is reused, with what is heard moved."""
        model, run, _ = stage.attach(schedule=(True, False, True), **settings)
        outs, calls = [], []

        def moved(executor, *args, **kwargs):
            calls.append(1)
            if len(calls) > 1:
                kwargs[self.heard] = kwargs[self.heard] + shift
            return executor(*args, **kwargs)

        def sample(model, x, sigmas, extra_args=None, callback=None, disable=None, **_):
            outs.extend(model(x, sigmas[0] * x.new_ones([x.shape[0]]), **extra_args) for _ in range(2))
            return outs[-1]

        model.add_wrapper_with_key("diffusion_model", "moved", moved)
        run_sampler(stage, model, sample)
        assert [step.action for step in run.reports[0].steps] == ["compute", "reuse"], run.reports[0].notes
        return outs

    def test_cancel_leaves_nothing(self, stage):
        cancel_leaves_nothing(stage, passes=(4,))
        assert torch.equal(stage.sample(stage.model), self.plain(stage))

    def test_from_calibration_to_a_planned_run(self, stage):
        plain = self.plain(stage)
        model, run = calibrate(stage, replays=0)
        assert torch.equal(stage.sample(model), plain)
        recording = run.of(None).recording()
        adapter = stage.comfy.core.find(stage.comfy.guider.diffusion_model(stage.model))
        assert recording.adapter == adapter.name and recording.run.tokens == adapter.grid(plain).tokens
        plan = plan_of(stage.comfy.core, recording, 6, level="residual", order=1, correction=True)
        model, planned = stage.node(plan_json=plan.to_json())
        out, report = stage.sample(model), planned.reports[0]
        assert computed_steps(report) == list(plan.schedule) and report.level == "residual" and not report.remapped
        assert report.corrections > 0 and close(out, plain, 0.3) and not torch.equal(out, plain)
