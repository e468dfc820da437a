"""The avatar's templates in ComfyUI, with a tiny model of random weights and a node in place of text encoders and VAE."""

import re

import numpy as np
import pytest
from PIL import Image

from demo.talker import PORTRAIT_FILE, SPEECH_FILE
from tests.host import avatar
from tests.host.running import furnished, launched, run
from tests.host.test_avatar import random_whisper
from tests.host.test_avatar_model import save
from tests.host.test_workflows import AVATAR, frames, queued, saved
from tests.host.workflow import VAE
from tools.avatar_workflows import SMALL, stand_in
from tools.workflows.stand_ins import titles_of

pytestmark = [pytest.mark.host, pytest.mark.slow]
STAND_IN = VAE + '''
import torch

class AvatarStandIn:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "make", ("VAE", "CONDITIONING", "CONDITIONING")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        generator = torch.Generator().manual_seed(0)
        words = [[[torch.randn(1, n, 4096, generator=generator), {"pooled_output": torch.ones(1, 768)}]] for n in (7, 5)]
        return (Vae(), *words)

NODE_CLASS_MAPPINGS = {"AvatarStandIn": AvatarStandIn}
'''


def prepared(base) -> None:
    """Files and nodes below ComfyUI's base folder."""
    models = furnished(base, STAND_IN, SPEECH_FILE)
    save({"module": avatar.random_weights()}, models / "mp_rank_00_model_states.pt")
    encoders = base / "models" / "audio_encoders"
    encoders.mkdir()
    save(random_whisper(), encoders / "whisper-tiny.safetensors")
    with Image.open(PORTRAIT_FILE) as portrait:
        one = np.array(portrait.convert("RGBA"))
    two, (high, wide) = np.concatenate((one, one[:, ::-1]), axis=1), one.shape[:2]
    for name, picture, left in (("portrait", one, 0), ("portrait1", two, 0), ("portrait2", two, wide)):
        painted = picture.copy()
        painted[high // 5 : high * 3 // 4, left + wide // 4 : left + wide * 3 // 4, 3] = 0  # as the mask editor saves it
        Image.fromarray(painted).save(base / "input" / f"{name}.png")


@pytest.fixture(scope="module")
def server(comfy, tmp_path_factory):
    base = tmp_path_factory.mktemp("avatar")
    prepared(base)
    with launched(base) as running:
        yield running


@pytest.mark.parametrize("name", AVATAR)
def test_it_runs(name, server):
    workflow = saved(name)
    prompt = stand_in(name, queued(workflow, server.get("/object_info")), titles_of(workflow))
    entry = run(server, prompt)
    told = ""
    for key, node in prompt.items():
        if node["class_type"] == "SaveVideo":
            video = entry["outputs"][key]["images"][0]
            assert frames(server.base / video["type"] / video["subfolder"] / video["filename"]) == 9
        if node["class_type"] == "SyncCacheReport":
            told = entry["outputs"][key]["text"][0]
    steps = SMALL["BasicScheduler"]["steps"]
    assert int(re.search(rf"^{steps} steps: \d+ computed, (\d+) reused", told, re.MULTILINE)[1]) > 0, told
