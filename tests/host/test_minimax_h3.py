"""MiniMax-H3 in a real ComfyUI: the picture takes residuals, text and sound go through every block at every step."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from .doors import host_case, randomised
from .families import cancel_leaves_nothing, plan_is_made_and_taken
from .test_any_model import AnyStage, patcher
from .test_live import deaf
from .test_semantics import close
from .test_view import twice

pytestmark = pytest.mark.host
TINY = {
    "image_model": "minimax_h3", "hidden_size": 32, "num_layers": 7, "token_refiner_num_layers": 1, "num_attention_heads": 2,
    "attention_head_dim": 24, "ffn_hidden_size": 48, "text_dim": 16, "timestep_input_dim": 16, "time_embed_hidden_size": 32,
    "time_embed_dim": 16, "rope_inv_freq_len": 3,
}  # fmt: skip
SIZE = 64  # pixels of the film
SHAPES = ((1, 24, 7, SIZE // 16, SIZE // 16), (1, 32, 2, 37))  # 22 frames
TOKENS, SOUNDS = 7 * 2 * 2, 2 * 37
VIDEO = 24 * 7 * 16  # numbers in the video's latent
SCHEDULE = (True, True, False, False) * 3


def h3(**more):
    import comfy.ldm.minimax.model as minimax
    from comfy import ops

    settings = {key: value for key, value in (TINY | more).items() if key != "image_model"}
    made = minimax.MiniMaxH3Model(**{"device": "cpu", **settings}, dtype=torch.float32, operations=ops.disable_weight_init)
    if more.get("device") != "meta":
        made.rope.inv_freq.copy_(0.3 ** torch.arange(len(made.rope.inv_freq)))
    return made.requires_grad_(False)


def minimax_h3(host):
    """The case of a family for `doors.check`: what is said is the sound that goes in. ComfyUI runs one branch a pass."""
    pytest.importorskip("comfy.ldm.minimax.model")
    text = torch.randn(1, 3, TINY["hidden_size"], generator=torch.Generator().manual_seed(5))

    def call(model, x, sigma, sound, options):
        names, outs = options.get("uuids", ["only"] * len(x)), []
        for name, *given in zip(names, x.split(1), sound.split(1)):
            out = model(given, torch.tensor([1000.0 * sigma]), text, {**options, "uuids": [name]})
            outs.append(torch.cat([each.flatten(1) for each in out], dim=1))
        return torch.cat(outs)

    def make():
        return randomised(h3(), scale=0.2)

    core = host.core
    return host_case(
        host, make, core.find(make()), core.Grid(7, 2, 2, 4, 5), *SHAPES, call, tolerance=1e-4,
        video=lambda out: out[:, :VIDEO],
    )


class StubVae:
    """encode(a picture [1, H, W, 3]) -> latent [1, 24, 1, H/16, W/16]."""

    @staticmethod
    def encode(pixels):
        generator = torch.Generator().manual_seed(2)
        _, height, width = pixels.shape[:3]
        return torch.randn(1, 24, 1, height // 16, width // 16, generator=generator)


class StubClip:
    """encode(prompt) -> a text of five tokens, the middle one of a picture."""

    @staticmethod
    def tokenize(text, **_):
        return text

    @staticmethod
    def encode_from_tokens_scheduled(tokens):
        generator = torch.Generator().manual_seed(len(tokens))
        text = torch.randn(1, 5, TINY["text_dim"], generator=generator)
        return [[text, {"minimax_token_tags": torch.tensor([[1, 1, 0, 1, 1]])}]]


class H3Stage(AnyStage):
    """kind: t2v, i2v with first and last frame, r2v with a reference; kept: which parts of the latent are given."""

    kind, kept = "t2v", ()

    def conditioning(self, **_):
        import comfy_extras.nodes_minimax_h3 as nodes_h3
        from comfy.nested_tensor import NestedTensor

        generator = torch.Generator().manual_seed(0)
        picture = torch.rand(1, SIZE, SIZE, 3, generator=generator)
        same = {"clip": StubClip, "vae": StubVae, "width": SIZE, "height": SIZE, "length": 22}
        both = []
        for prompt in ("a person speaks", ""):
            if self.kind == "r2v":
                node = nodes_h3.MiniMaxH3ReferenceToVideo
                both.append(node.execute(**same, audio_vae=None, prompt=prompt, ref_images={"ref_image_0": picture}).args)
            else:
                frames = {"first_frame": picture, "last_frame": 1 - picture} if self.kind == "i2v" else {}
                both.append(nodes_h3.MiniMaxH3ImageToVideo.execute(**same, prompt=prompt, **frames).args)
        (positive, latent), (negative, _) = both
        assert [tuple(each.shape) for each in latent["samples"].unbind()] == list(SHAPES)
        if self.kept:
            values = [torch.randn(shape, generator=generator) for shape in SHAPES]
            masks = [torch.ones(1, 1, *shape[2:]) for shape in SHAPES]
            if "frames" in self.kept:
                masks[0][:, :, :2] = 0.0
            if "corner" in self.kept:
                masks[0][..., :2, :2] = 0.0
            if "sound" in self.kept:
                masks[1][...] = 0.0
            if "start" in self.kept:
                masks[1][..., :10] = 0.0
            latent = {"samples": NestedTensor(values), "noise_mask": NestedTensor(masks)}
        return positive, negative, latent

    def node(self, model=None, **inputs):
        return super().node(model, **{"reuse": "residuals", "target_speedup": 1.5, **inputs})

    def custom(self, model, sampler, sigmas):
        """As the stock nodes around SamplerCustomAdvanced run it; the latent, packed."""
        import comfy_extras.nodes_custom_sampler as custom
        from comfy.utils import pack_latents

        positive, negative, latent = self.conditioning()
        guider = custom.CFGGuider.execute(model, positive, negative, 3.0).args[0]
        noise = custom.RandomNoise.execute(1).args[0]
        given = custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).args[0]
        return pack_latents(given["samples"].unbind())[0]


_made = []


@pytest.fixture
def film(comfy):
    import comfy.supported_models as supported

    if not hasattr(supported, "MiniMaxH3"):
        pytest.skip("this ComfyUI does not have it")
    if not _made:
        _made.append(patcher(supported.MiniMaxH3, dict(TINY)))
        dit = comfy.guider.diffusion_model(_made[0])
        dit.rope.inv_freq.copy_(0.3 ** torch.arange(3))
    return H3Stage(comfy, _made[0], SHAPES)


@contextmanager
def counted(stage):
    """Rows that blocks run on, a list for each block."""
    dit, rows = stage.comfy.guider.diffusion_model(stage.model), []
    removers = []
    for block in dit.blocks:
        rows.append([])
        removers.append(block.mlp.register_forward_hook(lambda _, args, out, seen=rows[-1]: seen.append(len(args[0]))))
    try:
        yield rows
    finally:
        for remover in removers:
            remover.remove()


WAYS = [("t2v", ()), ("i2v", ()), ("r2v", ()), ("t2v", ("frames",)), ("i2v", ("corner", "start")), ("t2v", ("sound",))]


@pytest.mark.parametrize(("kind", "kept"), WAYS)
def test_off_and_all_computed_are_bit_identical(film, kind, kept):
    film.kind, film.kept = kind, kept
    plain = film.sample(film.model)
    model, run = film.node(target_speedup=1.0)
    assert torch.equal(film.sample(model), plain) and run.reports == []
    model, run, _ = film.attach(schedule=(True,) * 12)
    assert torch.equal(film.sample(model), plain)
    report = run.reports[0]
    assert report.computed == 12 and report.bytes_held > 0 and report.notes == []
    given = {"t2v": 0, "i2v": 2 * 4, "r2v": 4}[kind]
    assert report.tokens == 5 + given + SOUNDS + TOKENS


class Tower:
    """As a ControlNet of newer hosts: a state of its own for every row, begun at one block, added at it and at another."""

    def __init__(self):
        self.blocks, self.state = randomised(h3(), scale=0.2).blocks, None

    def on(self, model):
        made = model.clone()
        for number, place in enumerate((0, 4)):
            made.set_model_patch_replace(partial(self._at, number), "dit", "double_block", place)
        return made

    def _at(self, number, args, extra):
        if number == 0:
            self.state = args["img"].clone()
        out = extra["original_block"](args)
        given = args["t_emb"], args["mod_segments"], args["rope_freqs"]
        self.state = self.blocks[number](self.state, *given, transformer_options=args["transformer_options"])
        return {**out, "img": out["img"] + 0.1 * self.state}


@pytest.mark.parametrize("reuse", ["auto", "residuals"])
def test_with_another_extension_in_the_place_of_blocks_outputs_are_reused(film, reuse):
    theirs = Tower().on(film.model)
    plain = film.sample(theirs)
    model, run = film.node(theirs, reuse=reuse)
    out, report = film.sample(model), run.reports[0]
    assert report.finished and report.level == "output" and report.reused > 2 and close(out, plain, 0.1)
    told = sum("another extension runs in the place of blocks" in note for note in report.notes)
    assert told == (reuse == "residuals")  # else outputs are what such a small model reuses
    model, run = film.node(theirs, preset="Paper")  # which has no outputs
    assert torch.equal(film.sample(model), plain) and run.reports[0].reused == 0
    assert any("their passes were computed" in note for note in run.reports[0].notes)


def test_with_another_extension_in_the_place_of_attention_outputs_are_reused(film):
    """Which may not ask for the keys of the picture's rows, or for those of a few heads at a time."""
    theirs = deaf(film.model, "blocks", "attn")
    plain = film.sample(theirs)
    model, run = film.node(theirs)
    assert close(film.sample(model), plain, 0.1)
    report = run.reports[0]
    assert report.level == "output" and report.reused > 2 and any("or their attention" in note for note in report.notes)


@pytest.mark.parametrize(("kind", "kept"), WAYS)
def test_text_and_sound_are_computed_at_every_step(film, kind, kept):
    film.kind, film.kept = kind, kept
    plain = film.sample(film.model)
    model, run = film.node()
    with counted(film) as rows:
        out, report = film.sample(model), run.reports[0]
    assert report.level == "residual" and report.reused > 2 and report.finished
    assert all("out of reach" in note for note in report.notes)
    passes, tokens = 2, report.tokens  # one a branch
    for block, seen in enumerate(rows):
        whole = passes * (len(report.steps) if block == 0 else report.computed)
        assert seen.count(tokens) == whole and seen.count(tokens - TOKENS) == passes * len(report.steps) - whole
    assert not torch.equal(out, plain) and close(out[..., :VIDEO], plain[..., :VIDEO], 0.25)
    sound, of_plain = out[..., VIDEO:], plain[..., VIDEO:]
    assert close(sound, of_plain, 0.05)
    if kept == ("sound",):
        assert close(sound, of_plain, 1e-6)
    if kept == ("frames",):
        frames = slice(2), slice(2, None)
        apart = [each[..., :VIDEO].reshape(SHAPES[0]) for each in (out, plain)]
        fixed, made = ((apart[0][:, :, part] - apart[1][:, :, part]).abs().max() for part in frames)
        assert fixed < 1e-5 < made


@pytest.mark.parametrize("sampler", ["uni_pc", "dpmpp_2m", "euler_ancestral", "res_multistep"])
def test_with_other_samplers(film, sampler):
    plain = film.sample(film.model, sampler=sampler)
    model, run = film.node()
    out, report = film.sample(model, sampler=sampler), run.reports[0]
    assert report.level == "residual" and report.reused > 2 and report.finished
    assert torch.isfinite(out).all() and not torch.equal(out, plain)
    if sampler != "euler_ancestral":
        assert close(out[..., VIDEO:], plain[..., VIDEO:], 0.1) and close(out, plain, 0.25)


@pytest.mark.parametrize("settings", [{}, {"probe": False}, {"cache_ratio": 0.4}])
def test_a_perfect_residual_gives_the_computed_picture(film, settings):
    outs = []
    model, run, _ = film.attach(schedule=(True, False, True), **settings)
    film.custom(model, film.comfy.samplers.KSAMPLER(twice(outs)), torch.tensor([0.9, 0.6, 0.3, 0.0]))
    assert [step.action for step in run.reports[0].steps] == ["compute", "reuse"], run.reports[0].notes
    assert close(outs[1][..., :VIDEO], outs[0][..., :VIDEO], 1e-5)
    assert close(outs[1][..., VIDEO:], outs[0][..., VIDEO:], 0.05)


def test_with_sampler_custom_advanced(film):
    sigmas = film.comfy.samplers.calculate_sigmas(film.model.get_model_object("model_sampling"), "simple", 12)
    sampler = film.comfy.samplers.sampler_object("euler")
    plain, (model, run) = film.custom(film.model, sampler, sigmas), film.node()
    out, report = film.custom(model, sampler, sigmas), run.reports[0]
    assert report.reused > 2 and report.finished and not torch.equal(out, plain)
    assert close(out[..., VIDEO:], plain[..., VIDEO:], 0.05) and close(out, plain, 0.25)


def test_a_sequence_of_another_length_ends_the_reuse(film):
    """A wrapper behind ours, of which nobody told us, shortens the text."""

    def shorter(executor, x, t, context, *args, **kwargs):
        kwargs["minimax_payload"] = {**kwargs["minimax_payload"], "text_token_tags": None}
        return executor(x, t, context[:, :3], *args, **kwargs)

    model, run, _ = film.attach(schedule=SCHEDULE)
    plain = film.model.clone()
    for patched in (model, plain):
        patched.add_wrapper_with_key("diffusion_model", "shorter", shorter)
    assert torch.equal(film.sample(model), film.sample(plain))
    assert "caching stopped: the model works on 105 tokens and not on the 107 expected" in run.reports[0].notes[-1]


def test_the_sound_is_nearer_than_where_whole_results_are_reused(film):
    plain, errors = film.sample(film.model)[..., VIDEO:], {}
    for level in ("residual", "output"):
        model, run, _ = film.attach(schedule=SCHEDULE, level=level)
        out = film.sample(model)[..., VIDEO:]
        assert run.reports[0].computed == 7
        errors[level] = ((out - plain).norm() / plain.norm()).item()
    assert errors["residual"] < errors["output"] / 3, errors


def test_a_given_sound_is_heard_on_reused_steps(film):
    """Only the sound that goes into reused steps differs."""
    count = [0]

    def louder(executor, x, *args, **kwargs):
        count[0] += 1
        if SCHEDULE[count[0] - 1]:
            return executor(x, *args, **kwargs)
        return executor([x[0], x[1] + 1.0], *args, **kwargs)

    film.kept, outs = ("sound",), []
    for altered in (False, True):
        model, run, _ = film.attach(schedule=SCHEDULE, correction=False)
        if altered:
            model.add_wrapper_with_key("diffusion_model", "louder", louder)
        outs.append(film.sample(model, cfg=1.0)[..., :VIDEO])
        assert run.reports[0].reused == 5
    assert not close(outs[1], outs[0], 1e-4)


def test_weights_are_fetched_ahead_on_reused_steps_as_well(film, monkeypatch):
    """Every block runs, if on few rows."""
    import comfy.model_prefetch as model_prefetch

    asked = []

    def ahead(executor, *args, **kwargs):
        next(each for each in args if isinstance(each, dict))["prefetch_dynamic_vbars"] = True
        return executor(*args, **kwargs)

    def queue(blocks, device, options):
        asked.append(options["prefetch_dynamic_vbars"])

    monkeypatch.setattr(model_prefetch, "make_prefetch_queue", queue)
    dynamic = film.model.clone()
    dynamic.add_wrapper_with_key("diffusion_model", "ahead", ahead)
    model, run, _ = film.attach(model=dynamic, schedule=SCHEDULE)
    film.sample(model, cfg=1.0)
    assert run.reports[0].reused == 5 and asked == [True] * 12


@pytest.mark.parametrize("ratio", [1.0, 0.4])
def test_room_is_asked_for_what_is_held(film, ratio):
    """Residuals, and where the picture stands inside segments; one anchor each."""
    model, run, _ = film.attach(schedule=SCHEDULE, correction=False, cache_ratio=ratio)
    film.sample(model)
    config = film.comfy.core.Config(level="residual", forecast_order=0, correction=False, cache_ratio=ratio)
    asked = film.comfy.host.residual_bytes(film.model, SHAPES[0], config, film.comfy.core.Sampler())
    assert run.reports[0].bytes_held == asked > 0


def test_a_mask_for_every_frame_of_the_film(film):
    """Every fifth latent frame stands for one of the film."""
    mask = torch.zeros(22, 8, 8)
    mask[:, :4] = 1.0
    model, run = film.node(human_mask=mask)
    film.sample(model)
    assert run.reports[0].reused > 2 and all("out of reach" in note for note in run.reports[0].notes)


def test_with_the_node_that_shifts_both_schedules(film):
    import comfy_extras.nodes_minimax_h3 as nodes_h3

    shifted = nodes_h3.MiniMaxH3SigmaShift.execute(film.model, 6.0, 2.0).args[0]
    plain = film.sample(shifted)
    model, run = film.node(model=shifted)
    out = film.sample(model)
    assert run.reports[0].reused > 2 and not torch.equal(plain, film.sample(film.model))
    assert close(out[..., VIDEO:], plain[..., VIDEO:], 0.05) and close(out, plain, 0.25)


def test_cancel_leaves_nothing(film):
    cancel_leaves_nothing(film, passes=(0, 3, 7))


def test_from_calibration_to_a_planned_run(film):
    plan_is_made_and_taken(film, "minimax_h3", 1.5)


def test_the_cost_against_the_counter(film, monkeypatch):
    import comfy.ldm.minimax.model as minimax
    from comfy.ldm.modules import attention

    monkeypatch.setattr(minimax, "optimized_attention", attention.attention_basic)  # the counter sees into this one
    made = randomised(h3(
        hidden_size=128, num_attention_heads=4, attention_head_dim=48, ffn_hidden_size=256, num_layers=11, time_embed_dim=32,
    ))  # fmt: skip
    core, latent = film.comfy.core, torch.zeros(1, 24, 7, 12, 12)
    adapter, grid = core.find(made), core.find(made).grid(latent)
    text, sound = torch.zeros(1, 9, 128), torch.zeros(1, 32, 2, 37)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made([latent, sound], torch.tensor([700.0]), text)
    cost = adapter.cost(made, grid, grid.tokens + 9 + 74, 9)
    assert cost.full == pytest.approx(counter.get_total_flops(), rel=0.03)
    assert adapter.cost(made, grid, grid.tokens, 9).full == pytest.approx(cost.full)


def test_a_reused_step_costs_what_the_counter_counts(film, monkeypatch):
    import comfy.ldm.minimax.model as minimax
    from comfy.ldm.modules import attention

    monkeypatch.setattr(minimax, "optimized_attention", attention.attention_basic)
    counted_steps = []

    def count(executor, *args, **kwargs):
        with FlopCounterMode(display=False) as counter:
            out = executor(*args, **kwargs)
        counted_steps.append(counter.get_total_flops())
        return out

    model, run, _ = film.attach(schedule=(True, False, True))
    model.add_wrapper_with_key("diffusion_model", "count", count)
    film.sample(model, steps=3, cfg=1.0)
    full, reused, _ = counted_steps
    assert run.reports[0].reuse_share == pytest.approx(reused / full, rel=0.03)
