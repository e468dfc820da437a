"""The Tiny Talker on other people's code: diffsynth's Wan2.2-S2V transformer and diffusers' Wan VAE.

Nothing here needs ComfyUI. `python -m demo.thirdparty --compare` runs the same checkpoint through ComfyUI as well and
prints how far apart the two are.
"""
import argparse
import contextlib
import functools
import importlib
import importlib.util
import json
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from .console import say
from .talker import DIT_FILE, SIZE, VAE_FILE

# WanS2VModel's required arguments; it takes the rest of ComfyUI's configuration (text_len, qk_norm, ...) for granted.
DIT_ARGUMENTS = ("dim", "in_dim", "ffn_dim", "out_dim", "text_dim", "freq_dim", "eps", "patch_size", "num_heads",
                 "num_layers", "cond_dim", "audio_dim", "num_audio_token")
OPTIONAL_ARGUMENTS = ("enable_adain", "audio_inject_layers", "framepack_drop_mode")
# Package files that diffsynth runs on import, although they pull in its whole training stack.
STUBS = ("diffsynth", "diffsynth.models", "diffsynth.core")


class MissingPackage(ModuleNotFoundError):
    """A package of the standalone runner is not installed."""


@dataclass(frozen=True)
class Talker:
    """Transformer and VAE on the CPU in fp32. Latents here are normalised: (raw - mean) / std, both [1,16,1,1,1]."""

    dit: torch.nn.Module
    vae: torch.nn.Module
    mean: torch.Tensor
    std: torch.Tensor
    config: dict

    @torch.inference_mode()
    def encode(self, pixels):
        """Pixels [1,3,F,H,W] in -1..1 -> normalised latents [1,16,(F+3)/4,H/8,W/8]."""
        return (self.vae.encode(pixels).latent_dist.mode() - self.mean) / self.std

    @torch.inference_mode()
    def decode(self, latents):
        """Normalised latents [1,16,T,h,w] -> pixels [1,3,4T-3,8h,8w] in -1..1."""
        return self.vae.decode(latents * self.std + self.mean).sample.clamp(-1, 1)


def read_checkpoint(path):
    """The fp32 state dict and the metadata of a safetensors file."""
    with safe_open(str(path), framework="pt") as file:
        return {key: file.get_tensor(key).float() for key in file.keys()}, file.metadata() or {}


@contextlib.contextmanager
def stub_packages(names):
    """Put empty packages with the right __path__ into sys.modules, so that submodules import without their parents."""
    spec = importlib.util.find_spec(names[0])
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackage(f"{names[0]} is not installed")
    root = Path(next(iter(spec.submodule_search_locations)))
    added = [name for name in names if name not in sys.modules]
    for name in added:
        package = types.ModuleType(name)
        package.__path__ = [os.fspath(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    try:
        yield
    finally:
        for name in added:  # a later, ordinary `import diffsynth` must get the real package
            sys.modules.pop(name, None)


@functools.cache
def diffsynth_class():
    """diffsynth's WanS2VModel, imported without diffsynth's dependencies (it uses torch, einops, numpy, tqdm)."""
    with stub_packages(STUBS):
        return importlib.import_module("diffsynth.models.wan_video_dit_s2v").WanS2VModel


def dit_arguments(config):
    """ComfyUI's configuration of the transformer -> keyword arguments of diffsynth's class."""
    missing = [name for name in DIT_ARGUMENTS if name not in config]
    if missing:
        raise ValueError(f"{DIT_FILE.name}: its metadata lacks {', '.join(missing)}")
    return {name: config[name] for name in (*DIT_ARGUMENTS, *OPTIONAL_ARGUMENTS) if name in config}


def load_dit(path=DIT_FILE):
    """(diffsynth's WanS2VModel with the weights in `path`, the configuration in its metadata)."""
    weights, metadata = read_checkpoint(path)
    config = json.loads(metadata["config"])["transformer"]
    dit = diffsynth_class()(**dit_arguments(config)).eval().requires_grad_(False)
    dit.load_state_dict(weights)
    check_injectors(dit, config["audio_inject_layers"])
    # The class prepends 73 copies of the first audio frame (the motion frames of a clip). 73 mod 4 = 1, so latent i
    # would hear up to frame 4i+3; ComfyUI, for which the Tiny Talker was trained, lets it hear up to frame 4i.
    dit.cal_audio_emb = functools.partial(dit.cal_audio_emb, motion_frames=[0, 0])
    dit.text_len = config["text_len"]  # the cost model counts text tokens by it, as on ComfyUI's class
    return dit, config


def check_injectors(dit, layers):
    """diffsynth finds the injection layers by a substring test on names: layer 1 also matches 10, 11, ..."""
    expected = {layer: index for index, layer in enumerate(layers)}
    if dit.audio_injector.injected_block_id != expected:
        raise ValueError(f"diffsynth maps the audio layers {layers} to {dit.audio_injector.injected_block_id}")


def load_vae(path=VAE_FILE):
    """diffusers' AutoencoderKLWan of the width that the checkpoint has."""
    try:
        from diffusers import AutoencoderKLWan
        from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
    except ImportError as error:
        raise MissingPackage(f"diffusers >= 0.33 is not installed ({error})") from error
    weights, _ = read_checkpoint(path)
    vae = AutoencoderKLWan(base_dim=weights["decoder.head.0.gamma"].shape[0]).eval().requires_grad_(False)
    vae.load_state_dict(convert_wan_vae_to_diffusers(weights))
    return vae


def load_talker(dit_path=DIT_FILE, vae_path=VAE_FILE):
    """The whole Tiny Talker, ready to run on the CPU."""
    vae = load_vae(vae_path)
    dit, config = load_dit(dit_path)
    mean, std = (torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    return Talker(dit, vae, mean, std, config)


@torch.inference_mode()
def velocity(dit, x, sigma, context, audio_embed, reference_latent):
    """One evaluation for one guidance branch.

    x [1,16,T,h,w] noisy latents, sigma 0..1, context [1,L,text_dim], audio_embed [1,25,A,>=4T], reference_latent
    [1,16,1,h,w] -> velocity like x. Motion tokens are left out, as the class itself does in its forward.
    """
    latents = torch.cat([reference_latent, x], dim=2)
    timestep = torch.tensor([float(sigma) * 1000.0], device=x.device)
    audio = audio_embed[..., : 4 * x.shape[2]]
    out = dit(latents, timestep, context, audio, motion_latents=torch.zeros_like(reference_latent), pose_cond=None)
    return out[:, :, 1:]


def example_inputs(config, latent=(9, 8, 8), seed=0):
    """Random inputs of `velocity`, for comparisons."""
    noise = torch.Generator().manual_seed(seed)
    frames, height, width = latent
    return {"x": torch.randn(1, 16, frames, height, width, generator=noise), "sigma": 0.6,
            "context": torch.randn(1, config.get("text_len", 4), config["text_dim"], generator=noise),
            "audio_embed": torch.randn(1, 25, config["audio_dim"], 4 * frames, generator=noise),
            "reference_latent": torch.randn(1, 16, 1, height, width, generator=noise)}


def relative_l2(a, b):
    """||a - b|| / ||b||."""
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


def compare(host):
    """Relative L2 between this module and ComfyUI (a loaded `demo.comfy_host.Host`) on the same checkpoint."""
    talker = load_talker()
    inputs = example_inputs(talker.config)
    latents = talker.mean + talker.std * inputs["x"]
    pixels = torch.rand(1, 3, 33, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return {
        "transformer": relative_l2(velocity(talker.dit, **inputs), host.velocity(DIT_FILE, **inputs)),
        "VAE decode": relative_l2(talker.decode(inputs["x"]), host.decode(VAE_FILE, latents)),
        "VAE encode": relative_l2(talker.encode(pixels) * talker.std + talker.mean, host.encode(VAE_FILE, pixels)),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m demo.thirdparty", description=__doc__.splitlines()[0])
    parser.add_argument("--compare", action="store_true", help="compare with ComfyUI on the same checkpoint")
    if not parser.parse_args(argv).compare:
        parser.error("nothing to do; try --compare")
    from .comfy_host import Host
    from .find_host import find_host
    host = find_host()
    if host is None:
        parser.error("no ComfyUI found; set COMFYUI_PATH to its folder")
    for part, distance in compare(Host(host)).items():
        say(f"{part:12} relative L2 to ComfyUI {distance:.1e}")


if __name__ == "__main__":
    main()
