"""The template of InfiniteTalk in ComfyUI, with a node that makes tiny models of random weights in the loaders' place."""

import re

import pytest

from demo.talker import PORTRAIT_FILE, SPEECH_FILE
from tests.host.running import furnished, launched, run
from tests.host.talking import saved as save_model
from tests.host.test_workflows import TALK, frames, queued, saved
from tests.host.workflow import VAE
from tools.talk_workflows import SMALL, STEPS, stand_in
from tools.workflows.stand_ins import titles_of

pytestmark = [pytest.mark.host, pytest.mark.slow]
STAND_IN = VAE + '''
from types import SimpleNamespace

import comfy.ops
import comfy.sd
import folder_paths
import torch
from comfy.model_patcher import CoreModelPatcher
from comfy_extras.nodes_model_patch import MultiTalkModelPatch

class TalkStandIn:
    CATEGORY, FUNCTION = "test", "make"
    RETURN_TYPES = (
        "MODEL", "MODEL_PATCH", "VAE", "CONDITIONING", "CONDITIONING", "CLIP_VISION_OUTPUT", "AUDIO_ENCODER_OUTPUT")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        generator, here = torch.Generator().manual_seed(0), torch.device("cpu")
        model = comfy.sd.load_diffusion_model(folder_paths.get_full_path_or_raise("diffusion_models", "tiny.safetensors"))
        text = torch.randn(1, 3, 16, generator=generator)
        seen = SimpleNamespace(penultimate_hidden_states=torch.randn(1, 257, 1280, generator=generator))
        heard = {"encoded_audio_all_layers": list(torch.randn(13, 1, 90, 768, generator=generator))}
        tiny = {"in_dim": 80, "out_dim": 12, "intermediate_dim": 4, "context_tokens": 4, "num_layers": 7}
        voice = MultiTalkModelPatch(**tiny, device=here, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
        for value in voice.parameters():
            value.requires_grad_(False).copy_(torch.randn(value.shape, generator=generator) * 0.3)
        return model, CoreModelPatcher(voice, here, here), Vae(), [[text, {}]], [[text * 0, {}]], seen, heard

NODE_CLASS_MAPPINGS = {"TalkStandIn": TalkStandIn}
'''


def prepared(base) -> None:
    """Files and nodes below ComfyUI's base folder."""
    save_model(furnished(base, STAND_IN, PORTRAIT_FILE, SPEECH_FILE) / "tiny.safetensors")


@pytest.fixture(scope="module")
def server(comfy, tmp_path_factory):
    base = tmp_path_factory.mktemp("talk")
    prepared(base)
    with launched(base) as running:
        yield running


@pytest.mark.parametrize("name", TALK)
def test_it_runs(name, server):
    """The second chunk adds all of its frames but the nine that it began with."""
    workflow = saved(name)
    prompt = stand_in(name, queued(workflow, server.get("/object_info")), titles_of(workflow))
    entry, told = run(server, prompt), []
    for key, node in prompt.items():
        if node["class_type"] == "SaveVideo":
            video = entry["outputs"][key]["images"][0]
            assert frames(server.base / video["type"] / video["subfolder"] / video["filename"]) == 2 * SMALL["length"] - 9
        if node["class_type"] == "SyncCacheReport":
            told.append(entry["outputs"][key]["text"][0])
    assert len(told) == 2 and all("InfiniteTalk: 7 blocks, 7 audio refreshes" in text for text in told)
    assert all(int(re.search(rf"^{STEPS} steps: \d+ computed, (\d+) reused", text, re.MULTILINE)[1]) > 0 for text in told)
