"""Training of the small S2V diffusion transformer, through the host's own WanModel_S2V class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..features import LAYERS
from ..portraits import mouth_box_of
from ..sampling import shifted
from ..talker import AUDIO_FRAMES, CONFIG, DIT_FILE, LATENT_FRAMES, SIZE, negative, positive
from .latents import load_latents
from .modelling import build_dit, initialise_dit, save_model
from .progress import Run, device, optimisers_for, worker, write_curve

MUON_RATE = 6e-3
RATE = 1e-3
BATCH = {"cpu": 6, "cuda": 48}  # of one process
MOTION_NOISE = 0.15
REPEATED_MOTION = 0.5
MOTION_LATENTS = 19  # what the host keeps of the past
EXTEND_EVERY = 3
SHIFT = 3.0
MOUTH_WEIGHT = 3.0
NO_TEXT = 0.1
NO_AUDIO_TEXT = 0.5


def rotate(x: torch.Tensor, freqs: torch.Tensor) -> torch.Tensor:
    """Rotary embedding with a gradient: x [B, L, heads, D], freqs [1, L, 1, D/2, 2, 2]."""
    first, second = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = freqs[..., 0, 0].float(), freqs[..., 1, 0].float()
    return torch.stack([first * cos - second * sin, first * sin + second * cos], -1).flatten(-2).to(x.dtype)


@contextmanager
def rope_with_gradient() -> Iterator[None]:
    """The host's fused rotary kernel has no backward pass: swap ours in, and back afterwards."""
    import comfy.ldm.wan.model as wan

    fused = wan.apply_rope1
    wan.apply_rope1 = rotate
    try:
        yield
    finally:
        wan.apply_rope1 = fused


def audio_embed(sound: torch.Tensor) -> torch.Tensor:
    """Windowed features [B, A, D] -> the host's [B, 25, D, A]."""
    return sound.movedim(1, 2)[:, None].expand(-1, LAYERS, -1, -1)


def mouth_weights() -> torch.Tensor:
    """[h, w] weights of the latent cells, mean one."""
    weight = torch.ones(SIZE // 8, SIZE // 8)
    y0, y1, x0, x1 = mouth_box_of(SIZE)
    weight[y0 // 8 : -(-y1 // 8), x0 // 8 : -(-x1 // 8)] = MOUTH_WEIGHT
    return weight / weight.mean()


def draw_context(silent: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The prompt [B, 4, 64], sometimes empty, most of all in silence: that is the negative branch."""
    chance = torch.where(silent, NO_AUDIO_TEXT, NO_TEXT)
    empty = torch.rand(len(silent), generator=generator) < chance
    return torch.where(empty[:, None, None], negative(), positive())


def draw_motion(before: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The motion frames of a chunk from the latents [B, 16, s, h, w] before it, as the host's Extend node gives them.

    Noise makes up for what generated frames will lack; half of the time the past is made as long as a third chunk's.
    """
    if torch.rand((), generator=generator) < REPEATED_MOTION:
        before = before.repeat(1, 1, -(-MOTION_LATENTS // before.shape[2]), 1, 1)
    size = torch.rand(len(before), generator=generator).view(-1, 1, 1, 1, 1) * MOTION_NOISE
    return before[:, :, -MOTION_LATENTS:] + size * torch.randn(before[:, :, -MOTION_LATENTS:].shape, generator=generator)


def batch_size() -> int:
    return BATCH[device().type]


def draw_chunk(data: dict[str, torch.Tensor], extends: bool,
               generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Clean latents [B, 16, 9, h, w], their sound [B, 36, D], and what else the model is given.

    A chunk that `extends` another starts anywhere later in its clip and gets motion frames; any other starts the clip.
    """
    pick = torch.randint(len(data["video"]), (batch_size(),), generator=generator)
    last = data["video"].shape[2] - LATENT_FRAMES
    start = int(torch.randint(1, last + 1, (), generator=generator)) if extends else 0
    video, given = data["video"][pick], {"reference_latent": data["reference"][pick]}
    if extends:
        given["reference_motion"] = draw_motion(video[:, :, :start], generator)
    clean = video[:, :, start : start + LATENT_FRAMES]
    return clean, data["sound"][pick, 4 * start : 4 * start + AUDIO_FRAMES], given


def flow_loss(model: torch.nn.Module, data: dict[str, torch.Tensor], weight: torch.Tensor, extends: bool,
              generator: torch.Generator) -> torch.Tensor:
    """Flow-matching loss of one random batch: predict noise - clean from their mix."""
    clean, sound, given = draw_chunk(data, extends, generator)
    noise = torch.randn(clean.shape, generator=generator)
    sigma = shifted(torch.rand(len(clean), generator=generator), SHIFT)
    mix = sigma.view(-1, 1, 1, 1, 1)
    given |= {"context": draw_context(sound.flatten(1).abs().sum(1) == 0, generator),
              "audio_embed": audio_embed(sound), "control_video": torch.zeros_like(clean)}
    place = weight.device
    velocity = model(((1 - mix) * clean + mix * noise).to(place), (sigma * 1000).to(place),
                     **{name: tensor.to(place) for name, tensor in given.items()})
    return ((velocity - (noise - clean).to(place)).square() * weight).mean()


def export_dit(folder: Path) -> None:
    """Save the averaged weights of the latest checkpoint in the work folder."""
    state = torch.load(folder / "dit.pt", weights_only=True, map_location="cpu")
    model = build_dit()
    model.load_state_dict(state["ema"])
    save_model(model, folder / DIT_FILE.name, CONFIG)
    write_curve(state["rows"], folder / "dit_curve")


def hidden(name: str, value: torch.Tensor) -> bool:
    """Which weights are Muon's: the matrices inside the blocks and the audio injectors."""
    return value.ndim == 2 and name.startswith(("blocks.", "audio_injector."))


def compiled(model: torch.nn.Module) -> torch.nn.Module:
    """Compile the blocks in place; the same code serves every block, and it saves a quarter of the step."""
    for block in model.blocks:
        block.forward = torch.compile(block.forward, dynamic=False)
    return model


def train_dit(folder: Path, seconds: float, report: object) -> None:
    """Train on the latents in a folder for a time budget; a checkpoint every two minutes, the average at the end."""
    model = initialise_dit(build_dit()).to(device())
    run = Run(model, folder / "dit.pt", optimisers_for(model, hidden, MUON_RATE, RATE), seconds)
    compiled(run.model)
    generator = torch.Generator().manual_seed(run.step * 1000 + worker())
    ready, weight = load_latents(folder / "latents"), mouth_weights().to(device())
    with rope_with_gradient():
        while run.progress < 1:
            extends = run.step % EXTEND_EVERY == EXTEND_EVERY - 1
            run.advance(flow_loss(run.model, ready, weight, extends, generator), extends=extends)
            if run.step % 20 == 0:
                recent = [row["loss"] for row in run.rows[-20:]]
                report(f"dit {run.step} {run.spent:.0f}s clips {len(ready['video'])} loss {sum(recent) / 20:.4f}")
            if run.clock - run.saved > 120:
                run.save()
                ready = load_latents(folder / "latents")
    run.save()
    if not worker():
        export_dit(folder)
