"""Which run a node is told of: that of the latent beside it, also where the host kept that latent from an earlier prompt."""

import json
from types import SimpleNamespace

import pytest
import torch

pytestmark = pytest.mark.host


@pytest.fixture
def prompts(stage, monkeypatch):
    """prompts(name): what is sampled from here on belongs to the prompt of that name."""
    def begin(name):
        monkeypatch.setattr(stage.comfy.run, "get_executing_context", lambda: SimpleNamespace(prompt_id=name))

    return begin


def told(stage, run, latent):
    """Steps of the runs in the report, and its text, as ComfyUI's nodes would show it beside a latent."""
    _, text, *_ = stage.execute(stage.comfy.ids["SyncCacheReport"], run=run, samples={"samples": latent, "more": 1})
    return [len(each["steps"]) for each in json.loads(text)["runs"]], run.of(latent).summary()


def test_a_latent_that_the_host_kept_comes_with_its_own_report(stage, prompts):
    """--cache-lru: 12 steps, then 10, then back to 12, which the host serves without sampling."""
    model, run = stage.node()
    prompts("first")
    twelve = stage.sample(model, steps=12)
    prompts("second")
    ten = stage.sample(model, steps=10)
    for latent, steps in ((twelve, 12), (ten, 10), (twelve.clone().half(), 12)):
        assert told(stage, run, latent)[0] == [steps] and "note: the latent" not in told(stage, run, latent)[1]
    steps, text = told(stage, run, ten * 1.01)
    assert steps == [10] and "note: the latent is not as this model's sampler gave it" in text
    assert [len(report.steps) for report in run.reports] == [10]


def test_samplers_of_one_prompt_are_told_of_in_order_up_to_the_latent(stage, prompts):
    model, run = stage.node()
    prompts("one")
    first, second = (stage.sample(model, steps=steps) for steps in (6, 9))
    assert told(stage, run, first)[0] == [6] and told(stage, run, second)[0] == [6, 9]


def test_a_plan_is_made_from_the_calibration_of_the_latent(stage, prompts):
    ids = stage.comfy.ids
    model, run = stage.execute(ids["SyncCacheCalibrate"], model=stage.model, replays=0)
    made = {}
    for steps in (12, 10):
        prompts(str(steps))
        made[steps] = stage.sample(model, steps=steps)
    for steps, latent in made.items():
        plan, *_ = stage.execute(ids["SyncCacheScheduleOptimizer"], run=run, samples={"samples": latent}, target_speedup=2.0)
        assert json.loads(plan)["run"]["steps"] == steps


def test_what_is_remembered_does_not_grow_forever(stage, prompts):
    model, run = stage.node()
    for number in range(stage.comfy.run.KEPT + 5):
        prompts(str(number))
        run.add(SimpleNamespace(steps=[], note=lambda *_: None))
    assert len(run._prompts) == stage.comfy.run.KEPT


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_packed_latents_are_known_again(stage, batch):
    from comfy.nested_tensor import NestedTensor
    from comfy.utils import pack_latents

    parts = [torch.randn(batch, 4, 3, 5, 5), torch.randn(batch, 2, 7)]
    packed, _ = pack_latents(parts)
    known = stage.comfy.run.fingerprint(NestedTensor(parts))
    assert known == stage.comfy.run.fingerprint(packed)
    flat = torch.cat([torch.cat([each[i].flatten() for each in parts]) for i in range(batch)])
    assert known == stage.comfy.run.fingerprint(flat)  # one after the other, picture and sound of each


def test_a_packed_batch_comes_with_its_own_report(stage, prompts):
    from comfy.nested_tensor import NestedTensor
    from comfy.utils import pack_latents

    run, made = stage.node()[1], []
    for number in range(2):
        prompts(str(number))
        parts = [torch.randn(2, 4, 3, 5, 5), torch.randn(2, 2, 7)]
        run.add(SimpleNamespace(number=number, note=lambda *_: None))
        run.gave(pack_latents(parts)[0])
        made.append(NestedTensor(parts))
    for number, latent in enumerate(made):
        told = run.of(latent)
        assert [report.number for report in told.reports] == [number] and told.note == ""


def test_a_model_that_was_never_sampled_is_said_so(stage):
    """SyncCache on the second model of a merge, whose wrappers the host drops."""
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    model, run = stage.node()
    merged = ModelMergeSimple().merge(stage.model, model, 0.5)[0]
    latent = stage.sample(merged, steps=3)
    steps, text = told(stage, run, latent)
    assert steps == [] and "this model was not sampled" in text and "merge" in text
