"""LTX-2 with picture and sound in a real ComfyUI: the picture takes residuals, the sound is computed at every step."""

import importlib
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from .doors import host_case, randomised
from .families import cancel_leaves_nothing, plan_is_made_and_taken
from .test_any_model import LTXAV, AnyStage, patcher
from .test_semantics import close

pytestmark = pytest.mark.host
TINY = LTXAV | {"num_layers": 7}
SHAPES = ((1, 16, 3, 4, 4), (1, 8, 5, 16))
VIDEO = 16 * 3 * 4 * 4  # numbers in the video's latent
SCHEDULE = (True, True, False, False) * 3


def ltx_av(host):
    """The case of a family for `doors.check`: what is said is the sound that goes in."""
    import comfy.ldm.lightricks.av_model as av_model
    from comfy import ops

    settings = {key: value for key, value in TINY.items() if key != "image_model"}
    text = torch.randn(1, 3, 2 * TINY["caption_channels"], generator=torch.Generator().manual_seed(5))

    def make():
        made = av_model.LTXAVModel(**settings, device="cpu", dtype=torch.float32, operations=ops.disable_weight_init)
        return randomised(made, scale=0.2)

    def call(model, x, sigma, sound, options):
        times = torch.full((len(x),), sigma)
        out = model([x, sound], (times, times), text.expand(len(x), -1, -1), transformer_options=options)
        return torch.cat([each.flatten(1) for each in out], dim=1)

    core = host.core
    return host_case(
        host, make, core.find(make()), core.Grid(3, 4, 4, 8), *SHAPES, call, tolerance=1e-4,
        video=lambda out: out[:, :VIDEO],
    )


class SoundStage(AnyStage):
    """frozen: sound that is given, or None; first: whether the first frame is given."""

    frozen, first = None, False

    def conditioning(self, **options):
        from comfy.nested_tensor import NestedTensor

        *prompts, latent = super().conditioning(**options)
        video, sound = latent["samples"].unbind()
        masks = [torch.ones(1, 1, *video.shape[2:]), torch.ones(1, 1, *sound.shape[2:])]
        if self.first:
            video[:, :, 0], masks[0][:, :, 0] = 0.5, 0.0
        if self.frozen is not None:
            sound, masks[1] = self.frozen, 0 * masks[1]
        latent = {"samples": NestedTensor([video, sound])}
        if self.first or self.frozen is not None:
            latent["noise_mask"] = NestedTensor(masks)
        return *prompts, latent

    def node(self, model=None, **inputs):
        return super().node(model, **{"reuse": "residuals", "target_speedup": 1.5, **inputs})


_made = []


@pytest.fixture
def sound(comfy):
    import comfy.supported_models as supported

    if not _made:
        _made.append(patcher(supported.LTXAV, dict(TINY)))
    return SoundStage(comfy, _made[0], SHAPES)


def given(seed=7):
    return torch.randn(SHAPES[1], generator=torch.Generator().manual_seed(seed))


@contextmanager
def counted(stage, *names):
    """Counts by name of how often parts of blocks run: "attn1" is the video's, "audio_attn1" the sound's."""
    dit, counts = stage.comfy.guider.diffusion_model(stage.model), dict.fromkeys(names, 0)

    def count(name):
        def hook(*_):
            counts[name] += 1

        return hook

    removers = [
        getattr(block, name).register_forward_hook(count(name)) for block in dit.transformer_blocks for name in names
    ]
    try:
        yield counts
    finally:
        for remover in removers:
            remover.remove()


@pytest.mark.parametrize("kind", ["t2v", "i2v", "ia2v"])
def test_off_and_all_computed_are_bit_identical(sound, kind):
    sound.first, sound.frozen = kind == "i2v", given() if kind == "ia2v" else None
    plain = sound.sample(sound.model)
    model, run = sound.node(target_speedup=1.0)
    assert torch.equal(sound.sample(model), plain) and run.reports == []
    model, run, _ = sound.attach(schedule=(True,) * 12)
    assert torch.equal(sound.sample(model), plain)
    report = run.reports[0]
    assert report.computed == 12 and report.bytes_held > 0 and report.notes == [] and report.tokens == 3 * 4 * 4
    assert run.of(None).summary().startswith("LTX-2 with sound: 7 blocks\n")


def test_it_is_recognised(sound):
    sent = []
    sound.comfy.host.attach(sound.model, sound.comfy.core.Config(), None, sound.comfy.run.RunHandle(watcher=sent.append))
    found = next(event["recognised"] for event in sent if "recognised" in event)
    assert found == {"model": "LTX-2 with sound", "blocks": 7, "refreshes": 0}


@pytest.mark.parametrize(
    ("kind", "sampler"),
    [
        ("t2v", "euler"), ("t2v", "uni_pc"), ("t2v", "euler_ancestral"), ("i2v", "euler"), ("ia2v", "euler"),
        ("ia2v", "dpmpp_2m"),
    ],
)
def test_the_sound_is_computed_at_every_step(sound, kind, sampler):
    sound.first, sound.frozen = kind == "i2v", given() if kind == "ia2v" else None
    plain = sound.sample(sound.model, sampler=sampler)
    model, run = sound.node()
    with counted(sound, "attn1", "ff", "audio_attn1", "video_to_audio_attn", "audio_ff") as counts:
        out, report = sound.sample(model, sampler=sampler), run.reports[0]
    assert report.level == "residual" and report.reused > 2 and report.finished and report.notes == []
    steps = len(report.steps)
    assert {counts[name] for name in ("audio_attn1", "video_to_audio_attn", "audio_ff")} == {7 * steps}
    assert {counts["attn1"], counts["ff"]} == {7 * report.computed + report.reused}  # the probe is one block
    assert not torch.equal(out, plain) and close(out[..., :VIDEO], plain[..., :VIDEO], 0.25)
    if kind == "ia2v":
        assert torch.equal(out[..., VIDEO:], plain[..., VIDEO:])
    elif sampler != "euler_ancestral":
        assert close(out[..., VIDEO:], plain[..., VIDEO:], 0.1)


def test_sound_is_kept_better_than_where_whole_results_are_reused(sound):
    schedule, plain = (True, True, False, False) * 3, sound.sample(sound.model)[..., VIDEO:]
    errors = {}
    for level in ("residual", "output"):
        model, run, _ = sound.attach(schedule=schedule, level=level)
        out = sound.sample(model)[..., VIDEO:]
        assert run.reports[0].computed == 7
        errors[level] = ((out - plain).norm() / plain.norm()).item()
    assert errors["residual"] < errors["output"] / 3, errors


def test_a_given_sound_is_heard_on_reused_steps(sound):
    """Only the sound that goes into reused steps differs."""
    count = [0]

    def louder(executor, x, *args, **kwargs):
        count[0] += 1
        if SCHEDULE[count[0] - 1]:
            return executor(x, *args, **kwargs)
        return executor([x[0], x[1] + 1.0], *args, **kwargs)

    sound.frozen = given()
    outs = []
    for altered in (False, True):
        model, run, _ = sound.attach(schedule=SCHEDULE, correction=False)
        if altered:
            model.add_wrapper_with_key("diffusion_model", "louder", louder)
        outs.append(sound.sample(model, cfg=1.0)[..., :VIDEO])
        assert run.reports[0].reused == 5
    assert not close(outs[1], outs[0], 1e-4)


@pytest.mark.parametrize(
    ("node", "inputs"), [("LTXVSpatioTemporalGuidance", {"blocks": "3"}), ("LTXVModalityGuidance", {"modality_scale": 3.0})]
)
def test_guidance_that_switches_parts_off_is_run_as_it_is(sound, node, inputs):
    import comfy_extras.nodes_lt as nodes_lt

    if not hasattr(nodes_lt, node):
        pytest.skip("this ComfyUI does not have the node")
    inputs = {"scale": 1.0} | inputs if "blocks" in inputs else inputs
    guided = getattr(nodes_lt, node).execute(sound.model, start_percent=0.0, end_percent=1.0, **inputs).args[0]
    plain = sound.sample(guided)
    model, run, _ = sound.attach(model=guided, schedule=(True,) * 12)
    assert torch.equal(sound.sample(model), plain) and not torch.equal(plain, sound.sample(sound.model))
    with counted(sound, "ff") as counts:
        model, run, _ = sound.attach(model=guided, schedule=SCHEDULE)
        out = sound.sample(model)
    report = run.reports[0]
    note = "guidance switches off parts of the model in some passes: those were computed as they are"
    assert report.reused == 5 and report.notes == [note] and close(out, plain, 0.3)
    assert counts["ff"] == 12 * 7 + 7 * 7 + 5  # one foreign pass at every step, prompts together in another


def perturbing(model, marks, layer=3):
    """A guider, not of the host, that leaves the first and third attention of a block out in a pass of its own, and counts a
    block's attentions to find them.
    """
    import comfy.ldm.modules.attention as attention
    from comfy.samplers import CFGGuider, calc_cond_batch

    def of_block(index):
        def replaced(args, extra):
            if index != layer or not marks.keys() & args["transformer_options"].keys():
                return extra["original_block"](args)
            count, names = [0], ("optimized_attention", "optimized_attention_masked")

            def passing(function):
                def attend(q, k, v, *args, **kwargs):
                    count[0] += 1
                    return v if count[0] in (1, 3) else function(q, k, v, *args, **kwargs)

                return attend

            with pytest.MonkeyPatch.context() as patch:
                for name in names:
                    patch.setattr(attention, name, passing(getattr(attention, name)))
                return extra["original_block"](args)

        return replaced

    class Perturbing(CFGGuider):
        def predict_noise(self, x, timestep, model_options=None, seed=None):
            def one(name, **more):
                options = model_options | {"transformer_options": model_options["transformer_options"] | more}
                return calc_cond_batch(self.inner_model, [self.conds[name]], x, timestep, options)[0]

            given = one("positive")
            return given + 2.0 * (given - one("negative")) + given - one("positive", **marks)

    model = model.clone()
    for index in range(TINY["num_layers"]):
        model.set_model_patch_replace(of_block(index), "dit", "double_block", index)
    return Perturbing(model)


@pytest.mark.parametrize("marks", [{"ptb_index": 0}, {"ptb_index": 0, "stg_indexes": [0, 2]}])
def test_a_pass_without_some_attentions_of_a_block_is_run_whole(sound, marks):
    """Without the picture in a block its attentions would be others: the third is then that of the picture to the sound."""
    import comfy.sample
    from comfy.utils import pack_latents

    positive, negative, latent = sound.conditioning()
    noise = comfy.sample.prepare_noise(latent["samples"], 1)

    def sample(model):
        guider = perturbing(model, marks)
        guider.set_conds(positive, negative)
        euler = sound.comfy.samplers.sampler_object("euler")
        out = guider.sample(noise, latent["samples"], euler, torch.linspace(1, 0, 13), seed=1)
        return pack_latents(out.unbind())[0]

    plain = sample(sound.model)
    assert torch.equal(sample(sound.attach(schedule=(True,) * 12)[0]), plain)
    model, run, _ = sound.attach(schedule=SCHEDULE)
    with counted(sound, "ff") as counts:
        out, report = sample(model), run.reports[0]
    note = "guidance switches off parts of the model in some passes: those were computed as they are"
    assert report.reused == 5 and report.notes == [note] and report.finished
    assert counts["ff"] == 12 * 7 + 2 * (7 * 7 + 5)  # the pass itself, and two others
    alone = sound.attach(schedule=SCHEDULE)
    sound.sample(alone[0])
    share = 1 / 3 + 2 / 3 * alone[1].reports[0].reuse_share  # one pass of three costs the same at every step
    whole, run, _ = sound.attach(schedule=SCHEDULE, level="output")
    with counted(sound, "ff") as counts:
        sample(whole)
    assert counts["ff"] == 3 * 7 * 7 and run.reports[0].notes == [] and run.reports[0].speedup_ideal == pytest.approx(12 / 7)
    assert report.step_share == pytest.approx(share) and report.speedup_ideal == pytest.approx(12 / (7 + 5 * share))
    assert close(out[..., :VIDEO], plain[..., :VIDEO], 0.1) and close(out[..., VIDEO:], plain[..., VIDEO:], 0.02)


def test_with_the_guider_that_has_two_scales(sound):
    import comfy.sample
    import comfy_extras.nodes_lt as nodes_lt

    if not hasattr(nodes_lt, "Guider_LTXAVDualCFG"):
        pytest.skip("this ComfyUI does not have it")
    positive, negative, latent = sound.conditioning()
    noise, outs = comfy.sample.prepare_noise(latent["samples"], 1), []
    model, run = sound.node()
    for each in (sound.model, model):
        guider = nodes_lt.Guider_LTXAVDualCFG(each)
        guider.set_conds(positive, negative)
        guider.set_cfg(3.0, 7.0)
        sigmas = torch.linspace(1, 0, 13)
        out = guider.sample(noise, latent["samples"], sound.comfy.samplers.sampler_object("euler"), sigmas, seed=1)
        outs.append(out.unbind())
    assert run.reports[0].reused > 2 and run.reports[0].finished
    for plain, reused in zip(*outs):
        assert not torch.equal(plain, reused) and close(reused, plain, 0.25)


def test_weights_are_not_fetched_ahead_of_blocks_that_are_not_run(sound, monkeypatch):
    import comfy.model_prefetch as model_prefetch

    asked = []

    def ahead(executor, *args, **kwargs):
        next(each for each in args if isinstance(each, dict))["prefetch_dynamic_vbars"] = True
        return executor(*args, **kwargs)

    def queue(blocks, device, options):
        asked.append(options["prefetch_dynamic_vbars"])

    monkeypatch.setattr(model_prefetch, "make_prefetch_queue", queue)
    dynamic = sound.model.clone()
    dynamic.add_wrapper_with_key("diffusion_model", "ahead", ahead)
    model, run, _ = sound.attach(model=dynamic, schedule=SCHEDULE)
    sound.sample(model, cfg=1.0)
    assert asked == [step.action == "compute" for step in run.reports[0].steps] and asked.count(False) == 5


def test_nothing_of_ours_is_recorded_by_a_host_that_records_allocations(sound, monkeypatch):
    """From 0.34 on what a block allocates must not outlive it, but within `pause_malloc_graph`."""
    import comfy.model_prefetch as model_prefetch

    paused, recorded, depth = [0], {}, [0]

    @contextmanager
    def pause():
        paused[0] += 1
        yield
        paused[0] -= 1

    class Recording(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            before = {each.untyped_storage().data_ptr() for each in args if isinstance(each, torch.Tensor)}
            out = function(*args, **(kwargs or {}))
            if depth[0] and not paused[0] and isinstance(out, torch.Tensor):
                place = out.untyped_storage().data_ptr()
                if place not in before:
                    recorded[place] = out.untyped_storage()  # held, so that no other takes its place
            return out

    def around(executor, *args, **kwargs):
        depth[0] += 1
        try:
            return executor(*args, **kwargs)
        finally:
            depth[0] -= 1

    monkeypatch.setattr(model_prefetch, "pause_malloc_graph", pause, raising=False)
    hooks, residuals, kept, handed = sound.comfy.hooks.BlockHook, sound.comfy.core.reuse.residuals.Residuals, [], []
    run_block, keep = hooks._original, residuals.keep

    def seen(hook, args, extra):
        handed.append(args["img"][0])
        return run_block(hook, args, extra)

    def keeping(self, key, group, sigma, residual):
        kept.append(residual)
        keep(self, key, group, sigma, residual)

    monkeypatch.setattr(hooks, "_original", seen)
    monkeypatch.setattr(residuals, "keep", keeping)
    model, run, _ = sound.attach(schedule=(True, False, True), correction=False)
    model.add_wrapper_with_key("diffusion_model", "around", around)  # inside ours, as the host's block loop
    with Recording():
        sound.sample(model, steps=3, cfg=1.0)
    assert run.reports[0].reused == 1 and len(kept) == 2 and recorded
    assert not [value for value in kept if value.untyped_storage().data_ptr() in recorded]
    # what reused steps hand on from block to block: six stand-ins
    assert sum(state.untyped_storage().data_ptr() not in recorded for state in handed) >= 6


@pytest.mark.parametrize(("recorder", "switched"), [("0.5.2", True), ("0.5.3", False), ("0.10.0.dev1", False)])
def test_a_recorder_that_fails_where_others_free_is_off_while_a_run_lasts(sound, monkeypatch, recorder, switched):
    from comfy.cli_args import args

    monkeypatch.setattr(args, "disable_comfy_compiler", False, raising=False)
    monkeypatch.setattr(sound.comfy.hooks, "version", lambda name: {"comfy-aimdo": recorder}[name])
    seen, model = [], sound.node()[0]

    def failing(executor, *given, **kwargs):
        seen.append(args.disable_comfy_compiler)
        raise InterruptedError

    model.add_wrapper_with_key("diffusion_model", "failing", failing)
    with pytest.raises(InterruptedError):
        sound.sample(model, cfg=1.0)
    assert seen == [switched] and args.disable_comfy_compiler is False


def test_room_is_asked_for_the_videos_residuals(sound, monkeypatch):
    asked, run_of = [], sound.comfy.host.CacheRun
    original = run_of.gpu_bytes

    def asking(self, model, shapes):
        asked.append((shapes, original(self, model, shapes)))
        return asked[-1][1]

    monkeypatch.setattr(run_of, "gpu_bytes", asking)
    model, _ = sound.node(forecast_order=0)
    sound.sample(model)
    [(shapes, size)] = asked
    assert [tuple(shape) for shape in shapes[1:]] == list(SHAPES) and shapes[0][-1] == VIDEO + 8 * 5 * 16
    dit = sound.comfy.guider.diffusion_model(sound.model)
    segments = sound.comfy.core.find(dit).layout(dit).storable()
    corrected = 4 * shapes[0][-1] * 2  # one anchor and the sum of a gap
    assert size == segments * 2 * 48 * 32 * 4 + corrected


def test_a_mask_for_every_frame_of_the_film(sound):
    """Eight frames to a latent one."""
    mask = torch.zeros(17, 8, 8)
    mask[:, :4] = 1.0
    model, run = sound.node(human_mask=mask)
    sound.sample(model)
    assert run.reports[0].reused > 2 and run.reports[0].notes == []


def test_cancel_leaves_nothing(sound):
    cancel_leaves_nothing(sound)


def test_from_calibration_to_a_planned_run(sound):
    plan_is_made_and_taken(sound, "ltx_av", 1.8)


def test_the_cost_against_the_counter(sound, monkeypatch):
    import comfy.ldm.lightricks.av_model as av_model
    import comfy.ldm.modules.attention as attention
    from comfy import ops

    monkeypatch.setattr(attention, "optimized_attention", attention.attention_basic)  # the counter sees into this one
    settings = {key: value for key, value in TINY.items() if key != "image_model"}
    settings |= {"cross_attention_dim": 256, "attention_head_dim": 128, "audio_cross_attention_dim": 128, "num_layers": 16}
    settings |= {"audio_attention_head_dim": 64, "caption_channels": 64}
    made = av_model.LTXAVModel(**settings, device="cpu", dtype=torch.float32, operations=ops.disable_weight_init)
    core, latent = sound.comfy.core, torch.zeros(1, 16, 4, 12, 12)
    adapter, text = core.find(randomised(made)), torch.zeros(1, 1024, 128)
    grid = adapter.grid(latent)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made([latent, torch.zeros(1, 8, 25, 16)], (torch.ones(1),) * 2, text)
    cost = adapter.cost(made, grid, grid.tokens, 1024)
    assert cost.full == pytest.approx(counter.get_total_flops(), rel=0.03)
    parts = counter.get_flop_counts()
    video = sum(
        sum(parts[f"LTXAVModel.transformer_blocks.0.{name}"].values())
        for name in ("attn1", "attn2", "audio_to_video_attn", "ff")
    )
    assert cost.first == cost.block == pytest.approx(video, rel=0.03)


def test_the_true_size(sound):
    """LTX-2 with its 19.6 billion weights at 704×1280, 121 frames; README and help page say so."""
    import comfy.ldm.lightricks.av_model as av_model
    from comfy import ops

    made = av_model.LTXAVModel(device="meta", dtype=torch.bfloat16, operations=ops.disable_weight_init)
    adapter = sound.comfy.core.find(made)
    grid = adapter.grid(torch.empty(1, 128, 16, 22, 40, device="meta"))
    cost, core = adapter.cost(made, grid, grid.tokens), sound.comfy.core
    policy = importlib.import_module(f"{core.__name__}.decide.policy")
    assert round(sum(each.numel() for each in made.parameters()) / 1e8) == 196
    assert (round(cost.speedup(40, 10), 2), round(cost.speedup(20, 8), 2)) == (3.33, 2.27)
    assert adapter.layout(made).segments == 13
    assert grid.tokens * adapter.width(made) * 2 / 2**30 == pytest.approx(0.107, abs=0.001)
    for preset in (2.0, 3.0, 4.0):
        assert policy.level_for(core.Config(target_speedup=preset, level="auto"), cost, 20).level == "residual"
