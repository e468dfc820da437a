"""Training-time access to the host's own model classes: find it, build, initialise, save, load."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .. import comfy_host
from ..find_host import find_host
from ..talker import CONFIG

VAE_WIDTH = 16
VAE_SHAPE = {
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
}


def open_host(cpu: bool | None = None) -> Path:
    """Make ComfyUI importable, on the CPU unless a GPU is there; its device is fixed at first import."""
    folder = find_host()
    if folder is None:
        raise FileNotFoundError("ComfyUI was not found: set COMFYUI_PATH to its folder")
    comfy_host.open_host(folder, not torch.cuda.is_available() if cpu is None else cpu)
    return folder


def build_dit(config: dict[str, object] | None = None) -> torch.nn.Module:
    """The host's WanModel_S2V in float32, with its weights not initialised."""
    import comfy.ops
    from comfy.ldm.wan.model import WanModel_S2V

    return WanModel_S2V(**(config or CONFIG), operations=comfy.ops.disable_weight_init, dtype=torch.float32)


def build_vae(width: int = VAE_WIDTH) -> torch.nn.Module:
    """The host's WanVAE of the given width, with its weights not initialised."""
    from comfy.ldm.wan.vae import WanVAE

    return WanVAE(dim=width, **VAE_SHAPE)


def initialise_dit(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Xavier weights, unit norms, small modulations, quiet head, injectors that start almost silent."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        data = parameter.data
        if name == "casual_audio_encoder.weights":
            data.fill_(1.0)
        elif "modulation" in name or "padding_tokens" in name or "trainable_cond_mask" in name:
            data.normal_(0, 0.02, generator=generator)
        elif data.ndim == 1:
            data.fill_(1.0 if name.endswith("weight") else 0.0)
        elif name.startswith(("time_embedding", "time_projection", "text_embedding")) or "adain" in name:
            data.normal_(0, 0.02, generator=generator)
        else:
            torch.nn.init.xavier_uniform_(data.view(data.shape[0], -1), generator=generator)
            if name == "head.head.weight" or (name.startswith("audio_injector") and ".o." in name):
                data.mul_(0.1)
    return model


def initialise_vae(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Kaiming convolutions with quiet residual ends, unit gains, zero biases."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        data = parameter.data
        if name.endswith("gamma"):
            data.fill_(1.0)
        elif data.ndim == 1:
            data.zero_()
        else:
            fan_in = data[0].numel()
            gain = 0.3 if "residual.6" in name or "proj" in name else 1.0
            data.normal_(0, gain / fan_in**0.5, generator=generator)
        if name.startswith("decoder") and name.endswith("time_conv.weight"):
            data[:, :, :-1] = 0  # frames to come do not lean on older ones until training asks for it
    return model


def save_model(model: torch.nn.Module, path: Path, config: dict[str, object] | None = None) -> None:
    """Write fp16 weights in one step; `config` becomes the metadata the host's loader reads."""
    weights = model.state_dict().items()
    tensors = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in weights}
    metadata = {"format": "pt"} | ({"config": json.dumps({"transformer": config})} if config else {})
    partial = path.with_suffix(".partial")
    save_file(tensors, str(partial), metadata=metadata)
    partial.chmod(0o644)
    os.replace(partial, path)


def load_weights(model: torch.nn.Module, path: Path) -> torch.nn.Module:
    """Fill a model from a safetensors file, in the model's own precision."""
    model.load_state_dict({name: value.float() for name, value in load_file(str(path)).items()})
    return model.train(False)


def trained(folder: Path, asset: Path) -> Path:
    """The newest weights: what training left in its work folder, else what is shipped."""
    own = folder / asset.name
    return own if own.exists() else asset


def ship(folder: Path, assets: tuple[Path, ...]) -> list[Path]:
    """Replace the shipped weights by those that training left in its work folder; what there was to replace."""
    found = [asset for asset in assets if (folder / asset.name).exists()]
    for asset in found:
        partial = asset.with_suffix(".partial")
        shutil.copyfile(folder / asset.name, partial)
        os.replace(partial, asset)
    return found
