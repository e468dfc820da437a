"""A Wan2.2-S2V transformer of any size with random weights, its inputs, one evaluation of it under guidance, and what
operation count and formulas say about a size, where nothing can be measured."""

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from demo.find_host import find_host, host_version
from synccache_core import CostModel, Grid, Layout
from synccache_core.decide.probe import PROBE_CHANNELS
from synccache_core.model.cost import cache_bytes
from synccache_core.model.layout import groups_for_ratio
from synccache_core.reuse.pinned import pieces

INJECTED = (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39)
HOST, THIRD_PARTY = "ComfyUI", "diffsynth"
ACTIVATIONS = 10  # hidden states of all tokens that a pass of the host's class takes at its fullest, rounded up

STEPS, COMPUTED = 40, 10
ORDER, BRANCHES = 1, 2
GIB, MIB = 2**30, 2**20
HERE, PINNED = "model's device", "pinned host"

@dataclass(frozen=True)
class Size:
    """Of a video, in pixels and frames."""

    width: int
    height: int
    frames: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """"832x480x77". Raises ValueError."""
        width, height, frames = map(int, text.lower().split("x"))
        if width < 16 or height < 16 or width % 16 or height % 16 or frames < 1 or frames % 4 != 1:
            raise ValueError(f"{text}: width and height must be multiples of 16, frames 4 n + 1")
        return cls(width, height, frames)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}"

    @property
    def latent(self) -> tuple[int, int, int]:
        """Frames, height, width."""
        return (self.frames - 1) // 4 + 1, self.height // 8, self.width // 8

    @property
    def grid(self) -> Grid:
        return Grid.from_latent(self.latent)

    @property
    def tokens(self) -> int:
        """Of the video and of one reference picture."""
        return self.grid.tokens + self.grid.height * self.grid.width


@dataclass(frozen=True)
class Shape:
    """Of the transformer; what is not given is Wan2.2-S2V-14B."""

    dim: int = 5120
    ffn: int = 13824
    heads: int = 40
    blocks: int = 40
    text_tokens: int = 512
    text_dim: int = 4096
    audio_dim: int = 1024
    dtype: torch.dtype = torch.bfloat16

    @property
    def injected(self) -> list[int]:
        return [block for block in INJECTED if block < self.blocks]

    @property
    def layout(self) -> Layout:
        return Layout(self.blocks, tuple(self.injected))

    @property
    def weight_bytes(self) -> int:
        """By formula: attention twice and the feed-forward in a block, attention and its norm in an injector, the rest."""
        square = self.dim * self.dim
        block, rest = 8 * square + 2 * self.dim * self.ffn, 13.4 * square
        return int((self.blocks * block + 6 * square * len(self.injected) + rest) * self.dtype.itemsize)

    def hidden_bytes(self, tokens: int) -> int:
        return tokens * self.dim * self.dtype.itemsize

    def scaled(self, dim: int | None, blocks: int | None) -> "Shape":
        """Of another width, with heads as wide as before, or depth."""
        made = self
        if dim:
            if dim % (self.dim // self.heads):
                raise ValueError(f"--dim must be a multiple of {self.dim // self.heads}, got {dim}")
            made = replace(made, dim=dim, heads=dim * self.heads // self.dim, ffn=round(dim * self.ffn / self.dim))
        return replace(made, blocks=blocks) if blocks else made

    def fitted(self, size: Size, free: int) -> "Shape":
        """With as many blocks, in fours, as leave room in `free` bytes for a pass and a whole cache of order 1."""
        made = self
        while made.blocks > 8:
            stored = made.layout.storable() * 4 * made.hidden_bytes(size.grid.tokens)
            if made.weight_bytes + ACTIVATIONS * made.hidden_bytes(size.tokens) + stored < 0.95 * free:
                break
            made = replace(made, blocks=made.blocks - 4)
        return made


TOY = Shape(dim=96, ffn=256, heads=2, blocks=16, text_tokens=8, text_dim=32, audio_dim=16, dtype=torch.float32)


def build(shape: Shape, device: str) -> tuple[torch.nn.Module, str]:
    """(the host's class where ComfyUI is found, else diffsynth's, its weights not set; whose it is)."""
    shared = {
        "dim": shape.dim, "ffn_dim": shape.ffn, "num_heads": shape.heads, "num_layers": shape.blocks, "freq_dim": 256,
        "text_dim": shape.text_dim, "in_dim": 16, "out_dim": 16, "eps": 1e-6, "patch_size": (1, 2, 2), "cond_dim": 16,
        "audio_dim": shape.audio_dim, "num_audio_token": 4, "audio_inject_layers": shape.injected,
    }  # fmt: skip
    folder = find_host()
    if folder is None:
        return _third_party(shape, device, shared)
    from demo.training.modelling import open_host

    open_host(cpu=not torch.cuda.is_available())
    import comfy.ops
    from comfy.ldm.wan.model import WanModel_S2V

    operations = comfy.ops.disable_weight_init
    shared |= {"text_len": shape.text_tokens, "device": device, "dtype": shape.dtype}
    return WanModel_S2V(**shared, operations=operations).requires_grad_(False), f"{HOST} {host_version(folder)}"


def _third_party(shape: Shape, device: str, shared: dict) -> tuple[torch.nn.Module, str]:
    from importlib.metadata import version

    from demo.thirdparty import check_injectors, diffsynth_class

    before = torch.get_default_dtype()
    torch.set_default_dtype(shape.dtype)
    try:
        with torch.device(device):
            model = diffsynth_class()(**shared).requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    check_injectors(model, shape.injected)
    model.cal_audio_emb = partial(model.cal_audio_emb, motion_frames=[0, 0])
    model.text_len = shape.text_tokens
    return model, f"{THIRD_PARTY} {version('diffsynth')}"


def fill(model: torch.nn.Module) -> None:
    """Small random weights, drawn where they are; gains of one."""
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if name == "casual_audio_encoder.weights" or (weight.ndim == 1 and name.endswith("weight")):
            weight.fill_(1.0)
        else:
            weight.normal_(0, 0.02)


@dataclass(frozen=True)
class Stand:
    """A model and the inputs of two guidance branches, in one pass or two. source: whose class it is.

    real: whether there are data behind the tensors. inputs: latent, reference, text and sound of one pass; both branches
    are given the same, since what is in them costs nothing.
    """

    model: torch.nn.Module
    source: str
    shape: Shape
    size: Size
    device: str
    batched: bool = False
    real: bool = True
    inputs: tuple[torch.Tensor, ...] = field(init=False)

    def __post_init__(self):
        frames, height, width = self.size.latent
        shapes = (
            (16, frames, height, width), (16, 1, height, width), (self.shape.text_tokens, self.shape.text_dim),
            (25, self.shape.audio_dim, 4 * frames),
        )  # fmt: skip
        like = {"dtype": self.shape.dtype, "device": self.device}
        made = (torch.randn(1 + self.batched, *shape, **like) for shape in shapes)
        object.__setattr__(self, "inputs", tuple(made))

    @property
    def guidance(self) -> str:
        return "batched" if self.batched else "apart"

    @property
    def can_batch(self) -> bool:
        """diffsynth's class takes one branch at a time."""
        return self.source.startswith(HOST)

    def evaluate(self, sigma: float, session=None) -> None:
        """One evaluation of a sampler, by way of the session where there is one; both outputs are there at its end."""
        outputs = []
        for names in (("uncond", "cond"),) if self.batched else (("uncond",), ("cond",)):
            with session.branch(*names) if session else nullcontext():
                outputs.append(self._call(sigma))

    def _call(self, sigma: float) -> torch.Tensor:
        x, reference, text, sound = self.inputs
        timestep = torch.full((x.shape[0],), 1000 * sigma, dtype=x.dtype, device=x.device)
        if self.can_batch:
            return self.model(
                x, timestep, text, audio_embed=sound, reference_latent=reference, control_video=torch.zeros_like(x),
                transformer_options={},
            )  # fmt: skip
        latents = torch.cat([reference, x], dim=2)
        return self.model(latents, timestep, text, sound, motion_latents=torch.zeros_like(reference), pose_cond=None)


# -- counted, predicted ------------------------------------------------------------------------------------------------


def predicted(shape: Shape, size: Size, ratio: float, batched: bool, place: str) -> tuple[int, int]:
    """(bytes of the cache of two branches, bytes that a session adds on the model's device).

    These are the cache, where it rests there, or else the residual that is being made, of all branches of a pass, which has
    no older one to take the place of; and a sketch of the probe per branch.
    """
    tokens = size.grid.tokens
    residual, sketched = shape.hidden_bytes(tokens), len(range(0, shape.dim, max(1, shape.dim // PROBE_CHANNELS)))
    groups = groups_for_ratio(shape.layout, ratio)
    cache = cache_bytes(BRANCHES * residual, 0, "residual", groups, ORDER, False)
    there = cache if place == HERE else residual * (BRANCHES if batched else 1)
    return cache, there + BRANCHES * tokens * sketched * shape.dtype.itemsize


def rounded(shape: Shape, size: Size, cache: int) -> int:
    """Bytes that PyTorch takes for `cache` bytes of pinned residuals: each piece in a block of a power of two."""
    residual = shape.hidden_bytes(size.grid.tokens)
    return cache // residual * sum(1 << (piece - 1).bit_length() for piece in pieces(residual))


def operations(shape: Shape, size: Size, cost: CostModel) -> dict:
    """Of one branch at one size; multiply-add counted as two."""
    residual = shape.hidden_bytes(size.grid.tokens)
    light = cost.full - cost.layout.blocks * cost.block
    return {
        "size": str(size), "blocks": shape.blocks, "width": shape.dim, "tokens": size.tokens,
        "weights_gib": shape.weight_bytes / GIB, "block_tflop": cost.block / 1e12, "injector_tflop": cost.refresh / 1e12,
        "call_tflop": cost.full / 1e12, "light_percent": 100 * light / cost.full,
        "reused_percent": 100 * cost.reuse_share, "ideal_speedup_10_of_40": cost.speedup(STEPS, COMPUTED),
        "residual_mib": residual / MIB, "residual_pinned_mib": rounded(shape, size, residual) / MIB,
    }  # fmt: skip
