"""Files of HunyuanVideo-Avatar: read without executing anything, names checked before a model is built.

The official one is a .pt with the weights under "module"; its fp8 variant has the scales in a file beside it, `X_map.pt` for
`X.pt`. Safetensors may be bf16, or fp8 in ComfyUI's own ways. Names: ComfyUI's HunyuanVideo knows the official ones.
"""

from pathlib import Path

import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch

from .model import AvatarConfig, BadAvatar
from .transformer import HunyuanVideoAvatar

WRAPPERS = ("module", "ema")  # keys under which the official file keeps its weights
PREFIX = "model.diffusion_model."  # of a diffusion model within a checkpoint
SCALES = (".scale_weight", ".weight_scale")  # ComfyUI's older and present name of what an fp8 weight is multiplied by
QUANTISED = (*SCALES, ".scale_input", ".input_scale", ".comfy_quant", ".pre_quant_scale", ".weight_scale_2", "scaled_fp8")
TOLD = 4  # names in an error


def load_avatar(path: str, options: dict | None = None, disable_dynamic: bool = False):
    """A ModelPatcher of the file.

    options: {"dtype": torch dtype of the weights, absent = as stored}; weights with scales stay as they are.

    Raises BadAvatar for a file that is something else, or lacks or has too many weights.
    """
    options = options or {}
    weights, metadata = read(Path(path))
    config = config_of(weights, Path(path).name)
    check_names(weights, config.unet_config, Path(path).name)
    weights, _ = comfy.utils.convert_old_quants(weights, "", metadata=metadata)
    set_dtype(config, weights, options.get("dtype"))
    model = config.get_model(weights)
    kind = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    devices = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    patcher = kind(model, load_device=devices[0], offload_device=devices[1])
    if not comfy.model_management.is_device_cpu(devices[1]):
        model.to(devices[1])
    model.load_model_weights(weights, "", assign=patcher.is_dynamic())
    patcher.cached_patcher_init = (load_avatar, (path, options))  # the host makes further copies of a model with it
    return patcher


def set_dtype(config: AvatarConfig, weights: dict, wanted: torch.dtype | None) -> None:
    """In which type weights rest and in which the model computes, by the host's own rules."""
    management, device = comfy.model_management, comfy.model_management.get_torch_device()
    config.quant_config = comfy.utils.detect_layer_quantization(weights, "")
    scaled_already, kinds = config.quant_config is not None, list(config.supported_inference_dtypes)
    dtype = None if scaled_already else wanted
    dtype = dtype or management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(weights), supported_dtypes=kinds,
        weight_dtype=None if scaled_already else comfy.utils.weight_dtype(weights),
    )  # fmt: skip
    config.set_inference_dtype(dtype, management.unet_manual_cast(None if scaled_already else dtype, device, kinds))


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict | None]:
    """Weights by ComfyUI's names, scales of fp8 ones among them, and metadata."""
    found, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    for wrapper in WRAPPERS:
        found = found[wrapper] if isinstance(found.get(wrapper), dict) else found
    if strange := [name for name, value in found.items() if not isinstance(value, torch.Tensor)]:
        raise BadAvatar(f"{path.name}: {told(strange)} are no tensors, this is no file of weights")
    found = {name.removeprefix(PREFIX): value for name, value in found.items()}
    return AvatarConfig({}).process_unet_state_dict(scaled(found, path)), metadata


def scaled(weights: dict, path: Path) -> dict:
    """With the scales of fp8 weights from the map beside the file, where they are not inside. Raises BadAvatar."""
    layers = [name.removesuffix(".weight") for name, value in weights.items() if is_fp8(value)]
    if not layers or any(name.endswith(SCALES) for name in weights):
        return weights
    beside = [path.with_name(f"{path.stem}_map{suffix}") for suffix in (path.suffix, ".pt", ".safetensors")]
    file = next(filter(Path.is_file, beside), None)
    if file is None:
        raise BadAvatar(f"{path.name}: its fp8 weights need their scales, a map file: put {beside[0].name} beside it")
    scales = comfy.utils.load_torch_file(str(file), safe_load=True)
    if lacking := [layer for layer in layers if layer not in scales]:
        raise BadAvatar(f"{file.name}: no scale for {told(lacking)} of {path.name}")
    scales = {f"{layer}.scale_weight": torch.as_tensor(scales[layer], dtype=torch.float32).reshape(()) for layer in layers}
    # two numbers tell the host to compute in full precision, as the official code does: fp8 is for storage only
    return {**weights, **scales, "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}


def is_fp8(value: torch.Tensor) -> bool:
    return value.dtype in (torch.float8_e4m3fn, torch.float8_e5m2) and value.ndim == 2


def config_of(weights: dict, name: str) -> AvatarConfig:
    """What the shapes say. Raises BadAvatar where this is no HunyuanVideo, or one without sound."""
    known = comfy.model_detection.detect_unet_config(weights, "")
    if known is None or known.get("image_model") != "hunyuan_video":
        raise BadAvatar(f"{name}: no HunyuanVideo-Avatar, but {(known or {}).get('image_model', 'no known model')}")
    sizes = [weights.get(key) for key in ("audio_adapter_blocks.0.to_q.weight", "audio_proj.proj1.weight")]
    if any(size is None for size in sizes):
        raise BadAvatar(f"{name}: a HunyuanVideo without audio adapters: ComfyUI's Load Diffusion Model loads it")
    adapter, projection = (size.shape for size in sizes)
    own = {"adapter_width": adapter[0], "audio_heard": projection[1], "audio_hidden": projection[0]}
    return AvatarConfig({**known, **own})


def check_names(weights: dict, config: dict, name: str) -> None:
    """Raises BadAvatar that names what is missing, unexpected, or of another shape; nothing is allocated for it."""
    model = HunyuanVideoAvatar(**config, device="meta", dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in weights.items() if not key.endswith(QUANTISED)}
    wrong = [f"{key} {given[key]} instead of {wanted[key]}" for key in wanted if given.get(key, wanted[key]) != wanted[key]]
    faults = {
        "missing": [key for key in wanted if key not in given], "unexpected": [key for key in given if key not in wanted],
        "of another shape": wrong,
    }  # fmt: skip
    if any(faults.values()):
        said = "; ".join(f"{len(names)} {what}: {told(names)}" for what, names in faults.items() if names)
        raise BadAvatar(f"{name} does not fit HunyuanVideo-Avatar of {config['depth']} double blocks: {said}")


def told(names: list[str]) -> str:
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(map(str, names[:TOLD])) + more
