"""The templates of HuMo, LTX-2 and MiniMax-H3 in ComfyUI, with a node that makes tiny models in the loaders' place."""

import re

import pytest
import torch

from bench import families
from bench.families_at_true_size import FAMILIES, Absent
from demo.talker import PORTRAIT_FILE, SPEECH_FILE
from synccache_core import Config, Sampler, find
from synccache_core.decide.policy import level_for
from synccache_core.model.layout import groups_for_ratio
from synccache_core.units import GIB
from tests.host.conftest import save_random
from tests.host.running import furnished, launched, run
from tests.host.test_any_model import LTXAV
from tests.host.test_humo import LARGE
from tests.host.test_minimax_h3 import TINY
from tests.host.test_workflows import FAMILY, frames, lacking, queued, saved
from tools.family_workflows import OUTPUTS, STEPS, stand_in
from tools.workflows.stand_ins import titles_of

pytestmark = [pytest.mark.host, pytest.mark.slow]
TITLES = {"humo": "HuMo: 7 blocks", "ltx2_talk": "LTX-2 with sound: 7 blocks", "minimax_h3": "MiniMax-H3: 7 blocks"}
FRAMES = {"humo": 13, "ltx2_talk": 25, "minimax_h3": 25}  # of the last, 7 latent frames by a decoder that takes four each
PLACES = {"humo": (4, 8, 16), "ltx2_talk": (8, 32, 128), "minimax_h3": (4, 16, 24)}  # frames, pixels, channels of a latent
CONFIGS = {
    "ltx2_talk": ("LTXAV", LTXAV | {"in_channels": 128, "num_layers": 7}), "minimax_h3": ("MiniMaxH3", dict(TINY)),
}  # fmt: skip
TEXTS = {"humo": 16, "ltx2_talk": 2 * LTXAV["caption_channels"], "minimax_h3": TINY["text_dim"]}
STAND_IN = f"""
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import folder_paths
import torch

PLACES, CONFIGS, TEXTS, FAMILIES = {PLACES!r}, {CONFIGS!r}, {TEXTS!r}, {sorted(TITLES)!r}
""" + '''
class Vae:
    def __init__(self, frames, pixels, channels):
        self.frames, self.pixels, self.channels = frames, pixels, channels
        self.downscale_index_formula = frames, pixels, pixels

    def encode(self, pictures):
        small = pictures.mean(-1)[None, None, :: self.frames, :: self.pixels, :: self.pixels]
        return small.repeat(1, self.channels, 1, 1, 1)

    def decode(self, latent):
        made = latent[:, :3].repeat_interleave(self.frames, 2)[:, :, self.frames - 1 :]
        return made.repeat_interleave(self.pixels, 3).repeat_interleave(self.pixels, 4).movedim(1, -1)

class Clip:
    def __init__(self, text):
        self.text = text

    def tokenize(self, prompt, images=()):
        return prompt

    def encode_from_tokens_scheduled(self, tokens):
        return [[self.text, {"minimax_token_tags": torch.ones(1, self.text.shape[1], dtype=torch.long)}]]

def random_model(name, generator):
    kind, config = CONFIGS[name]
    made = getattr(comfy.supported_models, kind)(config | {"dtype": torch.float32})
    made.unet_config.pop("image_model", None)
    made.set_inference_dtype(torch.float32, None)
    model = made.get_model({}, "").requires_grad_(False)
    for key, weight in model.diffusion_model.named_parameters():
        one = weight.ndim == 1 and key.endswith("weight")
        weight.copy_(torch.randn(weight.shape, generator=generator) * 0.08 + one)
    for key, angles in model.diffusion_model.named_buffers():
        if key.endswith("inv_freq"):
            angles.copy_(0.3 ** torch.arange(len(angles)))
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))

class FamilyStandIn:
    CATEGORY, FUNCTION = "test", "make"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "CONDITIONING", "CONDITIONING", "AUDIO_ENCODER_OUTPUT", "LATENT", "AUDIO")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"family": (FAMILIES,)}}

    def make(self, family):
        generator = torch.Generator().manual_seed(0)
        if family in CONFIGS:
            model = random_model(family, generator)
        else:
            path = folder_paths.get_full_path_or_raise("diffusion_models", "tiny.safetensors")
            model = comfy.sd.load_diffusion_model(path)
        text = torch.randn(1, 3, TEXTS[family], generator=generator)
        layers = [torch.randn(1, 40, 1280, generator=generator) for _ in range(33)]
        heard = {"encoded_audio_all_layers": layers, "audio_samples": 40 * 320}
        sound = {"samples": torch.randn(1, 8, 26, 16, generator=generator)}
        audio = {"waveform": torch.zeros(1, 1, 16000), "sample_rate": 16000}
        return model, Clip(text), Vae(*PLACES[family]), [[text, {}]], [[text * 0, {}]], heard, sound, audio

NODE_CLASS_MAPPINGS = {"FamilyStandIn": FamilyStandIn}
'''


def prepared(base) -> None:
    """Files and nodes below ComfyUI's base folder."""
    import comfy.ldm.wan.model as wan

    models = furnished(base, STAND_IN, PORTRAIT_FILE, SPEECH_FILE)
    save_random(wan.HumoWanModel, LARGE, models / "tiny.safetensors")


@pytest.fixture(scope="module")
def server(comfy, tmp_path_factory):
    base = tmp_path_factory.mktemp("families")
    prepared(base)
    with launched(base) as running:
        yield running


@pytest.mark.parametrize("name", FAMILY)
def test_it_runs(name, server):
    workflow, info = saved(name), server.get("/object_info")
    if lacks := lacking(workflow, info):
        pytest.skip(f"this ComfyUI has no {lacks[0]}")
    assert tuple(info["FamilyStandIn"]["output"])[0] == "MODEL" and len(info["FamilyStandIn"]["output"]) == len(OUTPUTS)
    prompt = stand_in(name, queued(workflow, info), titles_of(workflow))
    entry, made = run(server, prompt), {}
    for key, node in prompt.items():
        if node["class_type"] == "SaveVideo":
            video = entry["outputs"][key]["images"][0]
            made["frames"] = frames(server.base / video["type"] / video["subfolder"] / video["filename"])
        if node["class_type"] == "SyncCacheReport":
            made["told"] = entry["outputs"][key]["text"][0]
    assert made["frames"] == FRAMES[name]
    assert made["told"].startswith(TITLES[name]), made["told"]
    assert int(re.search(rf"^{STEPS} steps: \d+ computed, (\d+) reused", made["told"], re.MULTILINE)[1]) > 0, made["told"]


# What the notes say of the true size.


@pytest.fixture(scope="module")
def true_size(comfy):
    """By template: the model of the bench's table, and what a call costs at the template's size."""
    import comfy.ldm.lightricks.av_model as av_model
    from comfy import ops

    def of(title):
        return families.sized(next(family for family in FAMILIES if family.title == title))

    def costs(model, *latent):
        adapter = find(model)
        grid = adapter.grid(torch.empty(latent, device="meta"))
        return adapter.cost(model, grid, grid.tokens + (grid.tokens // grid.frames if adapter.name == "humo" else 0))

    ltx = av_model.LTXAVModel(device="meta", dtype=torch.bfloat16, operations=ops.disable_weight_init)
    found = {"humo": costs(of("HuMo 17B").model, 1, 16, 25, 80, 80), "ltx2_talk": costs(ltx, 1, 128, 16, 16, 24)}
    try:
        h3 = of("MiniMax-H3")
    except Absent:
        return found
    return found | {"minimax_h3": h3.cost}


@pytest.mark.parametrize("name", FAMILY)
def test_the_speeds_that_are_named(name, true_size):
    if name not in true_size:
        pytest.skip("this ComfyUI does not have the class")
    cost, found = true_size[name], {}
    for preset, target in (("Faithful", 2.0), ("Balanced", 3.0), ("Fast", 4.0)):
        config = level_for(Config(target_speedup=target, cache_ratio=None, level="auto"), cost, STEPS, Sampler())
        level = config.level
        share = cost.share(level, groups_for_ratio(cost.layout, None), config.merge, config.probe)
        computed = cost.computed_steps(STEPS, target, share)
        whole = ", whole results" * (level == "output")
        found[preset] = f"{computed} of {STEPS}{whole} | {cost.speedup(STEPS, computed, share):.1f}×"
    note = next(node for node in saved(name)["nodes"] if node["type"] == "MarkdownNote")["widgets_values"][0]
    assert all(f"| {preset} | {said} |" in note for preset, said in found.items()), found


def test_the_memory_that_is_named(true_size):
    """GiB in bfloat16, two anchors of each: 16 residuals and two branches of HuMo; 12, and two; all of one branch."""
    assert 2 * 2 * 16 * (25 * 40 * 40 * 5120 * 2) / GIB == pytest.approx(24, abs=0.5)
    assert 2 * 2 * 12 * (16 * 16 * 24 * 4096 * 2) / GIB == pytest.approx(2.3, abs=0.06)
    if "minimax_h3" in true_size:
        h3 = families.sized(next(family for family in FAMILIES if family.name == "minimax_h3"))
        assert h3.bytes_at(1.0) / 2 / GIB == pytest.approx(12, abs=0.5)
