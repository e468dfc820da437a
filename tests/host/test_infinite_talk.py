"""InfiniteTalk through ComfyUI's stock node: the voice stays fresh, frames that are written into x are not ours."""

import gc
import weakref

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import families
from bench.families_at_true_size import FAMILIES
from synccache_core import Config, Sampler
from synccache_core.decide.policy import level_for
from synccache_core.units import GIB
from tools.workflows.graphs import NOTES

from .doors import contract
from .talking import BLOCKS, TalkStage, case, saved
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
    def served(model):
        return talk.comfy.host.served(model).adapter

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


def sampled(talk, model, given, function, cfg=1.0):
    """As a custom sampler runs, over four sigmas."""
    positive, negative, latent = given
    noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(0))
    return talk.comfy.samplers.sample(
        model, noise, positive, negative, cfg, torch.device("cpu"), talk.comfy.samplers.KSAMPLER(function),
        torch.tensor([0.9, 0.6, 0.3, 0.0]), latent_image=latent["samples"],
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
    for step in (0, 6):
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


def test_contract_of_two_speakers(comfy):
    """All of it but two branches in one pass, which ComfyUI's own patch cannot be given."""
    checks, given = contract(comfy).checks, case(comfy, speakers=2)
    names = [name for name in vars(checks) if name.startswith("contract_") and name != "contract_branches_do_not_mix"]
    assert len(names) >= 11
    with torch.no_grad():
        for name in names:
            getattr(checks, name)(given)
        x, audio = (torch.cat(pair) for pair in zip(given.tensors(4), given.tensors(5)))
        with pytest.raises(RuntimeError, match="must match the size"):
            given.call(given.model, x, 1.0, audio)


@pytest.mark.parametrize("speakers", [1, 2])
def test_branches_that_run_apart(talk, speakers, monkeypatch):
    """With guidance, each branch has residuals, and a map of who speaks where, of its own."""
    from comfy.model_patcher import ModelPatcher

    voiced, given = talk.talk(speakers)
    with pytest.raises(RuntimeError):
        talk.sample(voiced, given, cfg=3.0)  # ComfyUI alone, both branches in one pass
    monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda self, device: 0)
    outs = []
    model, run, _ = talk.attach(voiced, schedule=(True, False, True))
    with torch.inference_mode():
        sampled(talk, model, given, twice(outs), cfg=3.0)
    assert run.reports[0].reused == 1 and run.reports[0].branches == 2 and close(outs[1], outs[0])


@pytest.mark.parametrize("speakers", [1, 2])
@pytest.mark.parametrize("kind", ["t2v", "i2v"])
def test_the_cost_against_the_counter(comfy, kind, speakers, monkeypatch, tmp_path):
    import comfy.ldm.modules.attention as attention
    import comfy.ldm.wan.model as wan
    import comfy.ldm.wan.model_multitalk as multitalk

    for module in (wan, multitalk):  # the counter does not see into the CPU's fused attention
        monkeypatch.setattr(module, "optimized_attention", attention.attention_basic)
    talk = TalkStage(comfy, saved(tmp_path / f"{kind}.safetensors", kind))
    voiced, given = talk.talk(speakers)
    counted = []

    def count(executor, *args, **kwargs):
        with FlopCounterMode(display=False) as counter:
            out = executor(*args, **kwargs)
        counted.append(counter.get_total_flops())
        return out

    model, run, _ = talk.attach(voiced, schedule=(True, True, False, True))
    model.add_wrapper_with_key("diffusion_model", "count", count)
    with torch.no_grad():
        talk.sample(model, given, steps=4)
    bound = talk.comfy.host.served(voiced)
    grid = bound.adapter.grid(given[2]["samples"])
    cost = bound.cost(grid, grid.tokens, 3)
    assert cost.full == pytest.approx(counted[0], rel=0.03)
    assert cost.reused == pytest.approx(counted[2], rel=0.03) and run.reports[0].reused == 1


def test_who_speaks_where_rests_and_the_report_says_so(talk):
    for speakers, said in ((1, False), (2, True)):
        model, run, _ = talk.attach(talk.talk(speakers)[0], schedule=SCHEDULE)
        talk.sample(model, talk.talk(speakers)[1])
        assert any("who speaks where was not looked for" in note for note in run.reports[0].notes) == said


def test_what_rests_is_freed_with_the_run(talk, monkeypatch):
    voiced, given = talk.talk(2)
    call, held = talk.comfy.core.run.call.Call, []
    keep = call.remember

    def watch(self, block, value):
        held.append(weakref.ref(value))
        keep(self, block, value)

    monkeypatch.setattr(call, "remember", watch)
    model, run, _ = talk.attach(voiced, schedule=SCHEDULE)
    talk.sample(model, given)
    gc.collect()
    assert len(held) >= BLOCKS and all(ref() is None for ref in held) and run.reports[0].reused > 0


def test_presets_keep_the_papers_share_of_the_residuals(talk):
    """Three of seven; the slider is taken at its word."""
    for settings, ratio, groups in (({"preset": "Faithful"}, 0.4, 3), ({}, 1.0, 7), ({"cache_ratio": 0.7}, 0.7, 5)):
        model, run = talk.node(**settings)
        talk.sample(model)
        assert (run.reports[0].settings["cache_ratio"], run.reports[0].groups) == (ratio, groups)
        assert run.reports[0].reused > 0 and run.reports[0].live(12)["usual_ratio"] == 0.4


# Frames that are written into x.


def pinned(voiced, given, talk):
    """The frames that ComfyUI writes, as the model sees them."""
    [wrapper] = voiced.wrappers["outer_sample"]["infinite_talk_outer_sample"]
    return talk.plain.model.process_latent_in(wrapper.motion_frames_latent)


def test_a_reused_result_follows_from_the_written_frames(talk):
    """Order 0: the model's velocity there is that of its own input, whatever the sampler's x is."""
    voiced, given = talk.talk(before=frames())
    written = pinned(voiced, given, talk)
    count, ends = written.shape[2], []
    assert count == 2
    for noise in (0.0, 5.0):
        outs = []

        def function(model, x, sigmas, extra_args, callback, disable, noise=noise, outs=outs):
            for sigma, moved in zip(sigmas[:2], (0.0, noise)):
                seen = x.clone()
                seen[:, :, :count] += moved
                outs.append(model(seen, sigma.expand(len(x)), **extra_args))
            return outs[-1]

        model, run, _ = talk.attach(voiced, schedule=(True, False, True), level="output")
        sampled(talk, model, given, function)
        assert run.reports[0].reused == 1
        wanted = written + (outs[0][:, :, :count] - written) * (0.6 / 0.9)
        assert close(outs[1][:, :, :count], wanted, 1e-5)
        ends.append(outs[1])
    assert torch.equal(ends[0], ends[1])


@pytest.mark.parametrize("level", ["output", "residual"])
def test_a_correction_leaves_the_written_frames_alone(talk, level):
    model, run, _ = talk.attach(schedule=(True, True, False, False, False, True) * 2, level=level, correction=True)
    raw, given = [], []

    def inner(executor, *args, **kwargs):
        raw.append(executor(*args, **kwargs))
        return raw[-1]

    def outer(executor, *args, **kwargs):
        calls, out = len(raw), executor(*args, **kwargs)
        if len(raw) > calls:
            given.append(out)
        return out

    model.add_wrapper_with_key("predict_noise", "inner", inner)
    wrappers = model.wrappers["predict_noise"]
    model.wrappers["predict_noise"] = {"outer": [outer], **wrappers}
    talk.sample(model)
    assert run.reports[0].corrections > 0 and len(raw) == len(given)
    assert all(torch.equal(a[:, :, :1], b[:, :, :1]) for a, b in zip(raw, given))
    assert not all(torch.equal(a, b) for a, b in zip(raw, given))


def test_a_chain_of_chunks(talk):
    """The second chunk begins with frames of the first, is found by its latent, and SyncCache may stand on either side."""
    first, opening = talk.talk()
    second, following = talk.talk(before=frames(), voice=1)
    ends, settings = {}, {"target_speedup": 1.2, "cache_ratio": 0.4, "reuse": "auto"}
    for place in ("behind", "in front"):
        if place == "behind":
            nodes = [talk.node(model=voiced, **settings) for voiced in (first, second)]
            models, runs = [model for model, _ in nodes], [run for _, run in nodes]
        else:
            cached, run = talk.node(model=talk.plain, **settings)
            models, runs = [talk.talk(model=cached)[0], talk.talk(model=cached, before=frames(), voice=1)[0]], [run, run]
        ends[place] = [talk.sample(model, given) for model, given in zip(models, (opening, following))]
        for latent, run in zip(ends[place], runs):
            report = run.of(latent).reports[-1]
            assert report.reused > 0 and report.level == "residual" and report.model == "InfiniteTalk"
        assert len(runs[1].of(ends[place][0] if place == "in front" else ends[place][1]).reports) == 1
    assert all(torch.equal(a, b) for a, b in zip(ends["behind"], ends["in front"]))
    plain = talk.sample(second, following)
    [wrapper] = second.wrappers["outer_sample"]["infinite_talk_outer_sample"]
    frozen = wrapper.motion_frames_latent
    assert torch.equal(ends["behind"][1][:, :, : frozen.shape[2]], frozen) and close(ends["behind"][1], plain, 0.3)


@pytest.mark.parametrize("kind", ["two", "chained"])
def test_from_calibration_to_a_planned_run(talk, kind):
    core, ids = talk.comfy.core, talk.comfy.ids
    voiced, given = talk.talk(**KINDS[kind])
    plain = talk.sample(voiced, given)
    model, run = talk.execute(ids["SyncCacheCalibrate"], model=voiced, replays=2, target_speedup=1.5, cache_ratio=0.4)
    latent = talk.sample(model, given)
    assert torch.equal(latent, plain)
    recording = run.of(latent).recording()
    assert recording.adapter == "infinite_talk" and ("residual", "whole") in recording.grams
    assert len(recording.replays) == 2 and recording.cost.layout.audio == "inside"
    planned = talk.execute(
        ids["SyncCacheScheduleOptimizer"], run=run, samples={"samples": latent}, target_speedup=1.5, cache_ratio=0.4,
        level="residual",
    )[0]  # fmt: skip
    plan = core.Plan.from_json(planned)
    assert plan.level == "residual" and 1 <= len(plan.groups) <= 3
    fast, ran = talk.node(model=voiced, plan_json=planned)
    out = talk.sample(fast, given)
    report = ran.of(out).reports[-1]
    assert [step.index for step in report.steps if step.action == "compute"] == list(plan.schedule)
    assert report.groups == len(plan.groups) and report.reused > 0 and report.plan
    assert close(out, plain, 0.3)
    with pytest.raises(core.planning.plan.BadInput, match="infinite_talk.*WanModel|WanModel.*infinite_talk"):
        talk.node(model=talk.plain, plan_json=planned)


# What is said of the true size.


@pytest.fixture(scope="module")
def true_size(comfy):
    return families.sized(next(family for family in FAMILIES if family.name == "infinite_talk"))


def test_the_memory_that_the_help_page_names(true_size):
    """web/docs/SyncCache.md, and the template's notes: GiB of a branch."""
    for ratio, held in ((1.0, 25.0), (0.4, 10.0)):
        assert true_size.bytes_at(ratio) / 2 / GIB == pytest.approx(held, abs=0.05)


def test_the_speeds_that_are_named(true_size):
    """Of presets, which keep 16 of 40 residuals: README.md at 40 steps, the template's notes at 12."""
    cost, found = true_size.cost, {}
    assert cost.speedup(40, 10, cost.share("residual", 16, "freeze", True)) == pytest.approx(3.45, abs=0.005)
    for name, target in (("Faithful", 2.0), ("Balanced", 3.0), ("Fast", 4.0)):
        level = level_for(Config(target_speedup=target, cache_ratio=None, level="auto"), cost, 12, Sampler()).level
        share = cost.share(level, 16, "freeze", True)
        computed = cost.computed_steps(12, target, share)
        found[name] = f"{computed} of 12{', whole results' * (level == 'output')} | {cost.speedup(12, computed, share):.1f}×"
    assert all(f"| {name} | {said} |" in NOTES["INFINITE_TALK"] for name, said in found.items()), found
