"""The avatar's nodes on a tiny model of random weights: from files to pictures, and every refusal."""

import math
from types import SimpleNamespace

import pytest
import torch

from tests.host import avatar
from tests.host.conftest import StubVae
from tests.host.test_avatar_model import distance, save

pytestmark = pytest.mark.host
SIZE, LENGTH = 64, 9


@pytest.fixture(scope="module")
def folders(comfy, tmp_path_factory):
    """A models folder that ComfyUI knows, with the tiny avatar and a whisper-tiny of random weights."""
    import folder_paths

    found = {}
    for kind in ("diffusion_models", "audio_encoders"):
        found[kind] = tmp_path_factory.mktemp(kind)
        folder_paths.add_model_folder_path(kind, str(found[kind]))
    save({"module": avatar.random_weights()}, found["diffusion_models"] / "avatar.pt")
    save({"module": local(avatar.random_weights())}, found["diffusion_models"] / "local.pt")
    save(random_whisper(), found["audio_encoders"] / "whisper-tiny.safetensors")
    return SimpleNamespace(**found)


def local(weights: dict) -> dict:
    """Without attention between tokens: what changes at one token stays there."""
    for name, value in weights.items():
        if name.endswith("img_attn_proj.weight"):
            value.zero_()
        if name.startswith("single_blocks") and name.endswith("linear2.weight"):
            value[:, : value.shape[0]] = 0
    return weights


def random_whisper(width=384, layers=4, mels=80) -> dict:
    """Hugging Face's names, random weights; a decoder's tensor, as the file has one."""
    import comfy.ops
    from comfy.audio_encoders.whisper import AudioEncoder

    torch.manual_seed(0)
    model = AudioEncoder(mels, 1500, width, width // 64, layers, operations=comfy.ops.disable_weight_init)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    weights = {name: torch.randn(shape) / math.sqrt(math.prod(shape[1:])) for name, shape in shapes.items()}
    return {
        **{f"model.encoder.{name}": value for name, value in weights.items()},
        "model.decoder.layer_norm.bias": torch.zeros(8),
    }


class Set:
    """The nodes of one workflow, each with its usual inputs."""

    def __init__(self, comfy, folders, rooms):
        self.comfy, self.ids, self.folders, self.rooms = comfy, comfy.ids, folders, rooms

    def load(self, name="avatar.pt", **inputs):
        return self.ids["SyncCacheAvatarLoader"].execute(name, **inputs).args[0]

    def hear(self, seconds=2.0, seed=0):
        encoder = self.ids["SyncCacheAvatarAudioEncoder"].execute("whisper-tiny.safetensors").args[0]
        sound = torch.randn(1, 1, round(16000 * seconds), generator=torch.Generator().manual_seed(seed)) * 0.1
        return encoder.encode_audio(sound, 16000)

    def face(self, left=0.0, size=SIZE):
        mask = torch.zeros(1, size, size)
        start = round(left * size)
        mask[:, 6 * size // 16 : 10 * size // 16, start : start + size // 4] = 1
        return mask

    def condition(self, sound=None, **inputs):
        generator = torch.Generator().manual_seed(3)
        words = [
            [
                [
                    torch.randn(1, length, avatar.TEXT, generator=generator),
                    {"pooled_output": torch.randn(1, 768, generator=generator)},
                ]
            ]
            for length in (7, 5)
        ]
        given = {
            "positive": words[0], "negative": words[1], "vae": StubVae(), "audio_encoder_output": sound or self.hear(),
            "ref_image": torch.rand(1, SIZE, SIZE, 3, generator=generator), "face_mask": self.face(), "width": SIZE,
            "height": SIZE, "length": LENGTH, "face_enlarge": 1.0, **inputs,
        }  # fmt: skip
        return self.ids["SyncCacheAvatarConditioning"].execute(**given).args

    def guide(self, model, told, **inputs):
        return self.ids["SyncCacheAvatarGuider"].execute(model, told[0], told[1], **inputs).args[0]

    def sample(self, guider, latent, steps=4, seed=1, callback=None):
        """SamplerCustomAdvanced's latent."""
        import comfy.sample

        sigmas = self.sigmas(guider.model_patcher, steps)
        noise = comfy.sample.prepare_noise(latent["samples"], seed)
        sampler = self.comfy.samplers.sampler_object("euler")
        return guider.sample(noise, latent["samples"], sampler, sigmas, callback=callback, disable_pbar=True, seed=seed)

    def sigmas(self, model, steps):
        return self.comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)


@pytest.fixture
def kit(comfy, folders, rooms):
    return Set(comfy, folders, rooms)


def test_from_files_to_a_latent(kit):
    model, told = kit.load(), kit.condition()
    out = kit.sample(kit.guide(model, told), told[2])
    assert out.shape == (1, 16, 3, 8, 8) and out.isfinite().all() and out.std() > 0.1
    assert torch.equal(out, kit.sample(kit.guide(model, told), told[2])), "a second run is the same"
    other = kit.condition(kit.hear(seed=9))
    assert distance(kit.sample(kit.guide(model, other), told[2]), out) > 1e-3, "another sound, another video"


def test_the_plain_ksampler_takes_it_too(kit, comfy):
    positive, negative, latent = kit.condition()
    out = comfy.nodes.common_ksampler(kit.load(), 1, 4, 5.0, "uni_pc", "simple", positive, negative, latent)[0]["samples"]
    assert out.isfinite().all() and out.std() > 0.1


def test_another_sound_changes_what_the_face_covers_and_nothing_else(kit):
    model = kit.load("local.pt")
    runs = []
    for seed in (0, 9):
        told = kit.condition(kit.hear(seed=seed), face_mask=kit.face(left=0.5))
        runs.append(kit.sample(kit.guide(model, told), told[2]))
    changed = (runs[0] - runs[1]).abs().amax(dim=(0, 1, 2)) > 1e-6
    rows, columns = changed.nonzero().unbind(1)
    # rows 24..40 and columns 32..48 of 64 pixels, to the nearest token of 16: row 2 of tokens alone starts within
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 5, 4, 5)
    assert changed.sum() == 4


def test_two_people_each_move_their_own_face(kit):
    model, faces = kit.load("local.pt"), {"face_mask": kit.face(0.0), "face_mask_2": kit.face(0.75)}
    runs = {}
    for sounds in ((0, 1), (0, 2), (3, 1)):
        told = kit.condition(kit.hear(seed=sounds[0]), audio_encoder_output_2=kit.hear(seed=sounds[1]), **faces)
        runs[sounds] = kit.sample(kit.guide(model, told), told[2], steps=2)
    second, first = ((runs[other] - runs[0, 1]).abs().amax(dim=(0, 1, 2, 3)) > 1e-6 for other in ((0, 2), (3, 1)))
    assert second.nonzero().flatten().tolist() == [6, 7] and first.nonzero().flatten().tolist() == [0, 1]


def test_lora(kit, comfy):
    model, told = kit.load(), kit.condition()
    name = "diffusion_model.double_blocks.1.img_attn.proj", "diffusion_model.audio_adapter_blocks.0.to_out"
    parts = {}
    for layer in name:
        weight = dict(model.model.named_parameters())[f"{layer}.weight"]
        for kind, shape in (("lora_up", (weight.shape[0], 2)), ("lora_down", (2, weight.shape[1]))):
            parts[f"{layer}.{kind}.weight"] = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    changed = comfy.sd.load_lora_for_models(model, None, parts, 0.5, 0.0)[0]
    assert len(changed.patches) == 2
    plain = kit.sample(kit.guide(model, told), told[2])
    assert distance(kit.sample(kit.guide(changed, told), told[2]), plain) > 1e-2
    assert torch.equal(kit.sample(kit.guide(model, told), told[2]), plain), "the LoRA is gone with its model"


def test_bf16(kit):
    weights = {name: value.bfloat16() for name, value in avatar.random_weights().items()}
    save(weights, kit.folders.diffusion_models / "bf16.safetensors")
    path = str(kit.folders.diffusion_models / "bf16.safetensors")
    model, told = kit.rooms["files"].load_avatar(path, {"dtype": torch.bfloat16}), kit.condition()
    assert {value.dtype for value in model.model.diffusion_model.state_dict().values()} == {torch.bfloat16}
    out = kit.sample(kit.guide(model, told), told[2])
    assert distance(out, kit.sample(kit.guide(kit.load(), told), told[2])) < 0.05
    given = {name: value.bfloat16() for name, value in avatar.inputs().items()}
    with torch.inference_mode():
        low = model.model.diffusion_model(**given)
        high = model.model.diffusion_model(**{name: value.float() for name, value in given.items()})
    assert low.dtype == torch.bfloat16 and distance(low.float(), high) < 0.05, "computed in bf16"


def test_a_cancelled_run_leaves_nothing(kit):
    import comfy.model_management

    model, told = kit.load(), kit.condition()
    guider = kit.guide(model, told)
    before = kit.sample(guider, told[2])
    options = repr(guider.model_options)

    def cancel(step, *_):
        if step == 1:
            raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        kit.sample(guider, told[2], callback=cancel)
    assert repr(guider.model_options) == options
    assert torch.equal(kit.sample(guider, told[2]), before)


def test_guidance_is_the_official_one(kit):
    """At 50 steps of the simple schedule, shift 5: what the paper's pipeline uses at each step."""
    model, told = kit.load(), kit.condition()
    guider, seen = kit.guide(model, told), []
    from comfy import samplers

    def watched(model, x, timestep, uncond, cond, scale, model_options=None, seed=None):
        active = [
            [entry for entry in each if samplers.get_area_and_mult(entry, x, timestep) is not None]
            for each in (cond, uncond)
        ]
        seen.append((scale, active))
        return torch.zeros_like(x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samplers, "sampling_function", watched)
        kit.sample(guider, told[2], steps=50)
    expected = [(1 - i / 50) * 5.5 + 2 if i < 10 else (1 - i / 50) * 3 + 3.5 for i in range(50)]
    assert [scale for scale, _ in seen] == pytest.approx(expected, abs=1e-4)
    for i, (_, sides) in enumerate(seen):
        assert [len(side) for side in sides] == [1, 1], f"step {i}"
        (positive,), (negative,) = sides
        words = [each["model_conds"]["c_crossattn"].cond.shape[1] for each in (positive, negative)]
        assert words == ([7, 5] if i < 10 else [7, 7])
        for each, silent in ((positive, False), (negative, True)):
            conds = each["model_conds"]
            assert conds["avatar_face"].cond.max() == pytest.approx(0.6 if i < 10 else 1.0)
            assert (conds["avatar_audio"].cond.abs().max() == 0) == silent


def test_context_windows_hear_their_own_frames(kit):
    """Two windows of three latent frames without overlap are two runs of three, each with its part of the sound."""
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    def windowed(**settings):
        return ContextWindowsManualNode.execute(
            model, context_length=3, context_overlap=0, context_schedule="standard_static", context_stride=1,
            closed_loop=False, fuse_method="flat", dim=2, freenoise=False, **settings,
        ).args[0]  # fmt: skip

    model, told = kit.load(), kit.condition(length=21)
    x = torch.randn(1, 16, 6, 8, 8, generator=torch.Generator().manual_seed(2))
    whole = one_step(kit, windowed(causal_window_fix=False), told, x)
    for start in (0, 3):
        part = [[[text, {**given, "avatar_audio": given["avatar_audio"][:, :, start : start + 3]}] for text, given in side]
                for side in told[:2]]  # fmt: skip
        assert distance(whole[:, :, start : start + 3], one_step(kit, model, part, x[:, :, start : start + 3])) < 1e-5
    assert one_step(kit, windowed(), told, x).isfinite().all(), "with the frame that ComfyUI puts in front of a window"


def one_step(kit, model, told, noise):
    guider = kit.guide(model, told)
    sampler = kit.comfy.samplers.sampler_object("euler")
    return guider.sample(noise, torch.zeros_like(noise), sampler, kit.sigmas(model, 1), disable_pbar=True, seed=1)


@pytest.fixture
def cached(kit, comfy):
    """(model behind SyncCache, run) at 2x with residuals, whose audio is fresh at every step."""

    class WithId(comfy.ids["SyncCache"]):
        hidden = SimpleNamespace(unique_id="7")

    def made(model):
        settings = {"preset": "Custom", "target_speedup": 2.0, "cache_ratio": 1.0, "reuse": "residuals"}
        return WithId.execute(model=model, **settings).args

    return made


def test_synccache_reuses_residuals(kit, cached):
    """Close to the plain run; the guider's switch, where the negative is another, is a computed step."""
    told = kit.condition()
    plain = kit.sample(kit.guide(kit.load(), told), told[2], steps=20)
    model, run = cached(kit.load())
    out = kit.sample(kit.guide(model, told), told[2], steps=20)
    report = run.reports[0]
    assert report.model == "HunyuanVideo-Avatar" and report.reused >= 6 and report.level == "residual"
    assert [step.action for step in report.steps][4] == "compute", "0.2 of 20 steps"
    assert 0 < distance(out, plain) < 0.2
    assert not [note for note in report.notes if "another extension" in note or "stopped" in note]


def test_cancelled_behind_synccache(kit, cached):
    import comfy.model_management

    told, model = kit.condition(), cached(kit.load())[0]
    guider = kit.guide(model, told)
    before = kit.sample(guider, told[2], steps=12)

    def cancel(step, *_):
        if step == 7:
            raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        kit.sample(guider, told[2], steps=12, callback=cancel)
    assert "synccache" not in guider.model_options["transformer_options"]
    assert torch.equal(kit.sample(guider, told[2], steps=12), before)


@pytest.mark.once
@pytest.mark.slow
def test_to_pictures_by_the_hosts_own_vae(kit, comfy):
    from comfy.ldm.models.autoencoder import AutoencoderKL

    config = {
        "double_z": True, "z_channels": 16, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
        "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0, "conv3d": True,
        "time_compress": 4,
    }  # fmt: skip
    weights = AutoencoderKL(ddconfig=config, embed_dim=16).state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(value.shape, generator=generator) / math.sqrt(max(1, math.prod(value.shape[1:])))
        for name, value in weights.items()
    }
    vae = comfy.sd.VAE(sd=weights)
    told = kit.condition(vae=vae)
    assert told[0][0][1]["avatar_ref"].shape == (1, 16, 3, 8, 8)
    pictures = vae.decode(kit.sample(kit.guide(kit.load(), told), told[2], steps=2))
    assert pictures.shape[-4:] == (LENGTH, SIZE, SIZE, 3) and pictures.isfinite().all()
