"""Ours against the official code, where AVATAR_REFERENCE names a folder that holds it (`hymm_sp/`): nothing of it is here.

Its licence excludes some territories. It wants flash-attn and a GPU; PyTorch's own attention stands in on the CPU.
"""

import os
import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tests.host import avatar
from tests.host.test_avatar_model import REAL, distance

FOLDER = os.environ.get("AVATAR_REFERENCE")
pytestmark = [
    pytest.mark.host, pytest.mark.slow,
    pytest.mark.skipif(not FOLDER, reason="AVATAR_REFERENCE names no folder with the official HunyuanVideo-Avatar"),
]  # fmt: skip


def attention(q, k, v, *_, **__):
    """flash_attn_varlen_func of one sequence: [S, heads, D] each."""
    q, k, v = (each.transpose(0, 1)[None] for each in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1)


@pytest.fixture
def official(monkeypatch):
    """The official modules of the transformer and of the rotary positions."""
    import diffusers.models  # noqa: F401  (before flash-attn seems to be there)
    import transformers.modeling_utils  # noqa: F401

    for name in ("flash_attn", "flash_attn.flash_attn_interface", "flash_attn.bert_padding"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name in ("qkvpacked_func", "kvpacked_func", "varlen_kvpacked_func"):
        setattr(sys.modules["flash_attn"], f"flash_attn_{name}", None)
    sys.modules["flash_attn.bert_padding"].index_first_axis = None
    sys.modules["flash_attn.flash_attn_interface"].flash_attn_varlen_func = attention
    monkeypatch.syspath_prepend(FOLDER)
    models = import_module("hymm_sp.modules.models_audio")  # first: the other one imports it back
    monkeypatch.setattr(models, "get_cu_seqlens", lambda *_: torch.zeros(3))
    monkeypatch.setattr(models, "CPU_OFFLOAD", True)  # one process: otherwise it asks torch.distributed
    return SimpleNamespace(models=models, helpers=import_module("hymm_sp.helpers"))


@torch.inference_mode()
def test_the_official_forward(official, comfy, rooms, tmp_path):
    weights, given = avatar.random_weights(**REAL), avatar.inputs()
    kind = official.models.HYVideoDiffusionTransformer
    args = SimpleNamespace(
        text_projection="single_refiner", use_attention_mask=True,
        text_states_dim=avatar.TEXT, text_states_dim_2=avatar.POOLED,
    )  # fmt: skip
    with torch.device("meta"):
        model = kind(args, in_channels=16, depth_double_blocks=2, depth_single_blocks=2)
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    assert unexpected == [] and {name.split(".")[0] for name in missing} == {"audio_adapter_blocks"}
    frames, size = given["x"].shape[2], given["x"].shape[3] // 2
    cos, sin = official.helpers.get_nd_rotary_pos_embed_new(
        [16, 56, 56], [frames, size, size], theta=256, use_real=True, concat_dict={"mode": "timecat", "bias": -1}
    )
    heard = given["avatar_audio"].flatten(2, 3)[0][:, 3:].unflatten(-1, (10, 5, 384))
    given["avatar_audio"][0, 0, 0] = given["avatar_audio"][0, 0, 0, 3]  # the official code repeats the first frame itself
    expected = model(
        given["x"], given["timestep"], ref_latents=given["avatar_ref"], text_states=given["context"],
        text_mask=torch.ones(given["context"].shape[:2], dtype=torch.int64), text_states_2=given["y"], freqs_cos=cos,
        freqs_sin=sin, return_dict=False, motion_exp=torch.full((1, 4), 30), motion_pose=torch.full((1, 4), 25),
        fps=torch.tensor([25]), audio_prompts=heard, face_mask=given["avatar_face"][:, :, None],
    )  # fmt: skip
    del model
    assert distance(avatar.forward(weights, **given), expected) < 1e-5
    torch.save(weights, tmp_path / "it.pt")
    weights.clear()
    ours = rooms["files"].load_avatar(str(tmp_path / "it.pt")).model.diffusion_model
    assert distance(ours(**given), expected) < 1e-5
