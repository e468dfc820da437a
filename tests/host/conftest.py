"""A real ComfyUI in this process, on the CPU, with the pack loaded by ComfyUI's own custom-node loader."""

import asyncio
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from demo.find_host import find_host
from tests.conftest import ROOT
from tests.host.running import REMEMBERS, served_by

TINY = {
    "image_model": "wan2.1", "model_type": "s2v", "patch_size": [1, 2, 2], "text_len": 3, "in_dim": 16, "dim": 48,
    "ffn_dim": 96, "freq_dim": 32, "text_dim": 16, "out_dim": 16, "num_heads": 2, "num_layers": 7, "qk_norm": True,
    "cross_attn_norm": True, "eps": 1e-6, "audio_dim": 8, "num_audio_token": 4, "enable_adain": True, "cond_dim": 16,
    "audio_inject_layers": [0, 2, 4, 6], "framepack_drop_mode": "padd",
}  # fmt: skip
OF_S2V = ("audio_dim", "num_audio_token", "enable_adain", "cond_dim", "audio_inject_layers", "framepack_drop_mode")
SMALL = {key: value for key, value in TINY.items() if key not in OF_S2V}  # of any Wan class


@pytest.fixture(scope="session")
def comfy():
    """Namespace of the host's modules, of our nodes by id, and of the pack's own modules as the host imported them."""
    path = find_host()
    if path is None:
        pytest.skip("no ComfyUI found: set COMFYUI_PATH to run the host tests")
    from demo.comfy_host import open_host

    open_host(path)
    import comfy.samplers
    import comfy.sd
    import comfy.utils
    import comfy_extras.nodes_easycache as easycache
    import comfy_extras.nodes_wan as wan

    import nodes

    comfy.utils.PROGRESS_BAR_ENABLED = False
    assert asyncio.run(nodes.load_custom_node(str(ROOT), module_parent="custom_nodes")), "ComfyUI refused the pack"
    ids = nodes.NODE_CLASS_MAPPINGS
    package = ids["SyncCache"].__module__.rpartition(".nodes.")[0]
    parts = ("nodes.host", "nodes.guider", "nodes.hooks", "nodes.run", "nodes.text", "synccache_core")
    pack = {name: sys.modules[f"{package}.{name}"] for name in parts}
    return SimpleNamespace(
        nodes=nodes, wan=wan, easycache=easycache, ids=ids, samplers=comfy.samplers, sd=comfy.sd, path=path,
        host=pack["nodes.host"], guider=pack["nodes.guider"], hooks=pack["nodes.hooks"], run=pack["nodes.run"],
        text=pack["nodes.text"], core=pack["synccache_core"],
    )  # fmt: skip


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A ComfyUI that takes prompts, for all tests that need nothing else of it."""
    with served_by(tmp_path_factory.mktemp("comfy base"), options=REMEMBERS) as running:
        yield running


@pytest.fixture(scope="session")
def rooms(comfy):
    """The avatar's modules as the host imported them, by name."""
    import importlib

    package = comfy.ids["SyncCache"].__module__.rpartition(".")[0]
    names = ("files", "model", "transformer", "sound", "face", "guidance", "text")
    return {name: importlib.import_module(f"{package}.avatar.{name}") for name in names}


@pytest.fixture(scope="session")
def tiny_checkpoint(comfy, tmp_path_factory):
    """Random weights of a seven-block WanModel_S2V, in a file that the host's own loader recognises."""
    import comfy.ldm.wan.model

    path = tmp_path_factory.mktemp("model") / "tiny_s2v.safetensors"
    return save_random(comfy.ldm.wan.model.WanModel_S2V, TINY, path)


def made(kind, config: dict):
    """One of the host's Wan classes, its weights not set."""
    import comfy.ops

    settings = {key: value for key, value in config.items() if key not in ("image_model", "model_type")}
    return kind(**settings, device="cpu", dtype=torch.float32, operations=comfy.ops.disable_weight_init)


def save_random(kind, config: dict, path) -> str:
    """The path, as text, of a checkpoint of one of the host's Wan classes with random weights."""
    import comfy.utils

    model = made(kind, config)
    generator = torch.Generator().manual_seed(0)
    weights = {k: torch.randn(v.shape, generator=generator) * 0.08 for k, v in model.state_dict().items()}
    weights = {k: v + 1 if "norm" in k and k.endswith("weight") and v.ndim == 1 else v for k, v in weights.items()}
    comfy.utils.save_torch_file(weights, str(path), metadata={"config": json.dumps({"transformer": config})})
    return str(path)


class StubVae:
    """encode(pixels [F, H, W, 3]) -> latent [1, 16, 1 + (F-1)/4, H/8, W/8]; enough for the conditioning nodes."""

    def encode(self, pixels):
        frames, height, width = pixels.shape[:3]
        small = pixels.mean(dim=-1)[None, ::4, ::8, ::8][:, : (frames - 1) // 4 + 1]
        return small[:, None].expand(1, 16, *small.shape[1:]).contiguous()[..., : height // 8, : width // 8]


class Stage:
    """One tiny model and what a sampler needs around it."""

    def __init__(self, comfy, checkpoint: str):
        self.comfy = comfy
        self.model = comfy.sd.load_diffusion_model(checkpoint)

    def conditioning(self, size=32, frames=9, batch=1, seed=0, motion=False):
        """positive, negative, latent of WanSoundImageToVideo, or of its Extend node with motion tokens."""
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(1, 3, 16, generator=generator)
        audio = {"encoded_audio_all_layers": [torch.randn(1, 120, 8, generator=generator)] * 25}
        image = torch.rand(1, size, size, 3, generator=generator)
        inputs = {"vae": StubVae(), "length": frames, "audio_encoder_output": audio, "ref_image": image}
        if motion:
            before = {"samples": torch.randn(1, 16, 5, size // 8, size // 8, generator=generator)}
            node = self.comfy.wan.WanSoundImageToVideoExtend
            return node.execute([[text, {}]], [[text * 0, {}]], video_latent=before, **inputs).args
        node = self.comfy.wan.WanSoundImageToVideo
        return node.execute([[text, {}]], [[text * 0, {}]], width=size, height=size, batch_size=batch, **inputs).args

    def sample(self, model, conditioning=None, seed=1, steps=12, cfg=3.0, sampler="euler", denoise=1.0):
        positive, negative, latent = conditioning or self.conditioning()
        ksampler = self.comfy.nodes.common_ksampler
        return ksampler(model, seed, steps, cfg, sampler, "simple", positive, negative, latent, denoise)[0]["samples"]

    def node(self, model=None, **inputs):
        """(MODEL, run) of the SyncCache node as an artist sets it; residuals: this tiny model would get outputs."""
        settings = {"preset": "Custom", "target_speedup": 2.0, "cache_ratio": 1.0, "reuse": "residuals", **inputs}
        return self.execute(self.comfy.ids["SyncCache"], model=model or self.model, **settings)

    def execute(self, node, **inputs):
        class WithId(node):
            hidden = SimpleNamespace(unique_id="7")

        return WithId.execute(**inputs).args

    def attach(self, model=None, mask=None, **config):
        """(MODEL, run, events) with settings that no widget offers, such as a fixed schedule."""
        said = []
        handle = self.comfy.run.RunHandle(watcher=said.append)
        settings = self.comfy.core.Config(**{"forecast_order": 0, **config})
        return self.comfy.host.attach(model or self.model, settings, mask, handle), handle, said


@pytest.fixture(scope="session")
def trained_detector():
    """A YOLO that finds the renderer's people, trained for two minutes unless `demo.detector` has run before."""
    path = ROOT / "out" / "renderer_people.safetensors"
    if not path.exists():
        subprocess.run([sys.executable, "-m", "demo.detector", "--out", str(path)], cwd=ROOT, check=True)
    return path


@pytest.fixture
def stage(comfy, tiny_checkpoint):
    return Stage(comfy, tiny_checkpoint)
