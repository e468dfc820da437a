"""HunyuanVideo-Avatar's transformer, composed of ComfyUI's HunyuanVideo and the parts that the avatar adds.

Tokens: text | reference frame (time -1) | video. The blocks run through ComfyUI's own replacement hooks; sound is added
after the hook, outside of the block, so that whoever skips a block still gets the sound of this step.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from comfy.ldm.flux.layers import DoubleStreamBlock, timestep_embedding
from comfy.ldm.hunyuan_video.model import HunyuanVideo
from comfy.ldm.modules.diffusionmodules.mmdit import PatchEmbed
from einops import rearrange
from torch import nn

from .parts import AudioAdapter, AudioProjection, NumberEmbedder

EXPRESSION, POSE = (30.0,) * 4, (25.0,) * 4  # strengths of motion, as at inference in the paper's code
EVERY = 2  # an adapter after double blocks 1, 3, 5, ...


class PairBlock(DoubleStreamBlock):
    """ComfyUI's double block, called with the picture's stream first and alone, as blocks of one stream are: so whatever
    stands in for blocks can stand in for this one.
    """

    def forward(self, img: torch.Tensor, text: list[torch.Tensor], **others) -> torch.Tensor:
        """text: the other stream, alone in a list, whose entry the block replaces."""
        img, text[0] = super().forward(img=img, txt=text[0], **others)
        return img


class HunyuanVideoAvatar(HunyuanVideo):
    """adapter_width, audio_heard, audio_hidden: inner width of the adapters, numbers per video frame that whisper gives,
    hidden width of their projection. The rest as ComfyUI's class.
    """

    def __init__(
        self, adapter_width: int, audio_heard: int, audio_hidden: int, depth: int, dtype=None, device=None, operations=None,
        **config,
    ):  # fmt: skip
        super().__init__(depth=0, dtype=dtype, device=device, operations=operations, **config)
        width, settings = self.hidden_size, {"dtype": dtype, "device": device}
        self.params.depth = depth
        self.double_blocks = nn.ModuleList(
            PairBlock(
                width, self.num_heads, mlp_ratio=self.params.mlp_ratio, qkv_bias=self.params.qkv_bias, operations=operations,
                **settings,
            )
            for _ in range(depth)
        )  # fmt: skip
        self.ref_in = PatchEmbed(
            None, self.patch_size, self.in_channels, width, conv3d=True, operations=operations, **settings
        )
        self.before_proj = operations.Linear(width, width, **settings)
        self.motion_exp = NumberEmbedder(width // len(EXPRESSION), operations, **settings)
        self.motion_pose = NumberEmbedder(width // len(POSE), operations, **settings)
        self.fps_proj = NumberEmbedder(width, operations, **settings)
        self.audio_proj = AudioProjection(audio_heard, audio_hidden, width, operations, **settings)
        self.audio_adapter_blocks = nn.ModuleList(
            AudioAdapter(width, adapter_width, operations, **settings) for _ in range(len(self.double_blocks) // EVERY)
        )

    def _forward(
        self, x, timestep, context, y=None, txt_byt5=None, clip_fea=None, guidance=None, attention_mask=None,
        guiding_frame_index=None, ref_latent=None, disable_time_r=False, control=None, transformer_options={},  # noqa: B006
        avatar_ref=None, avatar_audio=None, avatar_face=None, avatar_fps=None, **_,
    ):  # fmt: skip
        """x [B, 16, T, H, W], context [B, n, text width], y [B, 768] -> velocity as x. ComfyUI's signature, and ours:

        avatar_ref [B, 16, R, H, W] the reference picture as a still video; avatar_audio [B, people, T, 4, heard];
        avatar_face [B, people, H', W'] in 0..1; avatar_fps [B].
        """
        options = {**transformer_options}
        img, front = self._image_tokens(x, avatar_ref)
        vec = self._vector(timestep, y, avatar_fps, img.dtype)
        mask = additive(attention_mask, img.dtype)
        txt = self.txt_in(context, timestep, mask, transformer_options=options)
        places = torch.cat((x.new_zeros(len(x), txt.shape[1], 3, dtype=torch.float32), self._places(x)), dim=1)
        shared = {
            "vec": vec, "pe": self.pe_embedder(places), "transformer_options": options,
            "attention_mask": None if mask is None else F.pad(mask, (0, img.shape[1]))[:, None],
        }  # fmt: skip
        sound = partial(self._hear, self.audio_proj(avatar_audio), self._face(avatar_face, x), front)
        img, txt = self._double(img, txt, shared, sound)
        img = self._single(torch.cat((txt, img), dim=1), txt.shape[1], shared)
        img = self.final_layer(img[:, txt.shape[1] + front :], vec)
        return self._latent(img, x)

    def _image_tokens(self, x, still):
        """Tokens of reference frame and video, [B, front + V, C], and front."""
        frames = torch.arange(x.shape[2], device=x.device).clamp(max=still.shape[2] - 1)
        reference = self.img_in(still[:, :, :1])
        video = self.img_in(x) + self.before_proj(self.ref_in(still[:, :, frames]))
        return torch.cat((reference, video), dim=1), reference.shape[1]

    def _vector(self, timestep, y, fps, dtype):
        """What modulates every block, [B, C]."""
        time = self.time_in(timestep_embedding(timestep, 256, time_factor=1.0).to(dtype))
        exp, pose = (timestep.new_tensor(numbers).expand(len(timestep), -1) for numbers in (EXPRESSION, POSE))
        motion = self.motion_exp(exp, dtype) + self.motion_pose(pose, dtype)
        return time + motion + self.fps_proj(fps[:, None], dtype) + self.vector_in(y[:, : self.params.vec_in_dim])

    def _places(self, x):
        """Time, row and column of every image token, [B, front + V, 3]; the reference frame stands one before the first."""
        sizes = [size // step for size, step in zip(x.shape[2:], self.patch_size)]
        axes = [torch.arange(size, device=x.device, dtype=torch.float32) for size in sizes]
        places = torch.cartesian_prod(torch.cat((axes[0].new_full((1,), -1), axes[0])), *axes[1:])
        return places.expand(len(x), -1, -1)

    def _face(self, face, x):
        """[B, people, H', W'] -> weight of every token of a frame, [B, people, 1, n, 1]."""
        grid = [size // step for size, step in zip(x.shape[3:], self.patch_size[1:])]
        return F.interpolate(face, size=grid, mode="nearest").flatten(2)[:, :, None, :, None]

    def _hear(self, audio, face, front, img, adapter) -> None:
        """Add what each person's audio says to the tokens of that person's face; audio [B, people, T, m, C]."""
        video = img[:, front:].unflatten(1, (audio.shape[2], -1))
        added = sum(adapter(audio[:, person], video) * face[:, person] for person in range(audio.shape[1]))
        img[:, front:] += added.flatten(1, 2)

    def _double(self, img, txt, shared, sound):
        shared = {**shared, "modulation_dims_img": None, "modulation_dims_txt": None}
        options = shared["transformer_options"]
        options.update(total_blocks=len(self.double_blocks), block_type="double")
        for index, block in enumerate(self.double_blocks):
            options["block_index"] = index
            out = hooked(options, "double_block", index, partial(double, block), {"img": img, "txt": txt, **shared})
            img, txt = out["img"], out["txt"]
            if index % EVERY == 1:
                sound(img, self.audio_adapter_blocks[index // EVERY])
        return img, txt

    def _single(self, tokens, front: int, shared):
        options, shared = shared["transformer_options"], {**shared, "modulation_dims": None}
        options.update(total_blocks=len(self.single_blocks), block_type="single", img_slice=[front, tokens.shape[1]])
        for index, block in enumerate(self.single_blocks):
            options["block_index"] = index
            tokens = hooked(options, "single_block", index, partial(single, block), {"img": tokens, **shared})["img"]
        return tokens

    def _latent(self, tokens, x):
        """[B, V, channels * patch] -> [B, channels, T, H, W]."""
        time, high, wide = self.patch_size
        shape = {"t": x.shape[2] // time, "h": x.shape[3] // high, "a": time, "b": high, "c": wide}
        return rearrange(tokens, "n (t h w) (o a b c) -> n o (t a) (h b) (w c)", **shape)


def additive(mask, dtype):
    """A text mask [B, n] of 1 = there, as what attention adds to its weights; None stays None."""
    if mask is None or torch.is_floating_point(mask):
        return mask
    return (mask - 1).to(dtype) * torch.finfo(dtype).max


def hooked(options: dict, kind: str, index: int, run: Callable, args: dict) -> dict:
    """A block, or what an extension put in its place, as ComfyUI's `patches_replace` says."""
    hook = options.get("patches_replace", {}).get("dit", {}).get((kind, index))
    return run(args) if hook is None else hook(args, {"original_block": run})


def double(block, args: dict) -> dict:
    same = ("vec", "pe", "modulation_dims_img", "modulation_dims_txt", "transformer_options")
    text = [args["txt"]]
    img = block(args["img"], text, attn_mask=args["attention_mask"], **{name: args[name] for name in same})
    return {"img": img, "txt": text[0]}


def single(block, args: dict) -> dict:
    same = {name: args[name] for name in ("vec", "pe", "modulation_dims", "transformer_options")}
    return {"img": block(args["img"], attn_mask=args["attention_mask"], **same)}
