"""HunyuanVideo-Avatar as ComfyUI samples it: what the conditioning brings becomes the transformer's arguments."""

import comfy.conds
import comfy.model_base
import comfy.supported_models
import torch

from ...synccache_core.errors import SyncCacheError
from .transformer import HunyuanVideoAvatar

# Of a conditioning, see `checked`.
REF, AUDIO, FACE, FPS = KEYS = ("avatar_ref", "avatar_audio", "avatar_face", "avatar_fps")


class BadAvatar(SyncCacheError, ValueError):
    """Something that HunyuanVideo-Avatar cannot use; names it and what it needs."""


class AvatarModel(comfy.model_base.HunyuanVideo):
    """The host's HunyuanVideo with another transformer inside, so that what it knows of that model (LoRA names) holds."""

    def __init__(self, model_config, model_type=comfy.model_base.ModelType.FLOW, device=None):
        comfy.model_base.BaseModel.__init__(self, model_config, model_type, device=device, unet_model=HunyuanVideoAvatar)

    def extra_conds(self, **kwargs):
        """Raises BadAvatar where the conditioning was made for another latent, or without sound and face."""
        given = checked(kwargs, kwargs["noise"].shape)
        given[REF] = self.process_latent_in(given[REF])
        return {**super().extra_conds(**kwargs), **{key: comfy.conds.CONDRegular(value) for key, value in given.items()}}

    def resize_cond_for_context_window(self, cond_key, cond_value, window, x_in, device, retain_index_list=()):
        """ComfyUI's context windows: each window hears its own frames, and sees the same still reference."""
        if cond_key not in KEYS:
            return super().resize_cond_for_context_window(
                cond_key, cond_value, window, x_in, device, retain_index_list=retain_index_list
            )
        if cond_key != AUDIO:
            return cond_value._copy_with(cond_value.cond.to(device))
        return cond_value._copy_with(
            window.get_tensor(cond_value.cond, device, dim=2, retain_index_list=list(retain_index_list))
        )


def entries(conditioning: dict) -> dict[str, torch.Tensor]:
    """The avatar's entries of a conditioning. Raises BadAvatar where there are none."""
    if lacking := [key for key in KEYS if not isinstance(conditioning.get(key), torch.Tensor)]:
        raise BadAvatar(
            f"the conditioning has no {', '.join(lacking)}: connect positive and negative to SyncCache Avatar Conditioning"
        )
    return {key: conditioning[key] for key in KEYS}


def checked(conditioning: dict, shape) -> dict[str, torch.Tensor]:
    """The avatar's entries of a conditioning for a latent of this shape [B, 16, T, H, W].

    avatar_ref [1, 16, R, H, W], avatar_audio [1, people, T, 4, heard], avatar_face [1, people, H', W'], avatar_fps [1].
    """
    given = entries(conditioning)
    for name, ours, theirs in (
        ("height and width", tuple(given[REF].shape[3:]), tuple(shape[3:])),
        ("frames", given[AUDIO].shape[2], shape[2]),
    ):
        if ours != theirs:
            raise BadAvatar(
                f"the conditioning is for latents of {name} {ours}, the sampler was given {theirs}: use the latent of "
                "the same SyncCache Avatar Conditioning"
            )
    return given


class AvatarConfig(comfy.supported_models.HunyuanVideo):
    """Not in the host's list of models: only our loader makes one, and the host's loaders find what they found before."""

    sampling_settings = {"shift": 5.0}

    def get_model(self, state_dict, prefix="", device=None):
        return AvatarModel(self, device=device)
