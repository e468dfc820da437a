"""Train the diffusion transformer of the Wild Talker on clips that keep coming."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from ..sampling import shifted
from ..talker import LATENT_FRAMES, negative, positive
from ..training.modelling import build_dit, initialise_dit, load_weights, save_model
from ..training.progress import optimisers_for
from ..training.train_dit import (
    EXTEND_EVERY,
    MOTION_LATENTS,
    MOTION_NOISE,
    MOUTH_WEIGHT,
    MUON_RATE,
    RATE,
    REPEATED_MOTION,
    audio_embed,
    hidden,
    rope_with_gradient,
)
from .graph import Inputs, Recorded
from .loop import Clock, Loop, precision, say
from .sound import as_features
from .source import Pool, Source
from .talker import CONFIG, DIT
from .train_vae import encode

SHIFT = 4.0
NO_TEXT = 0.12
NO_SOUND = 0.5  # of those without text, also without sound, while the mouth moves: what guidance leads away from
SILENT_NO_TEXT = 0.5
FRESH_SHARE = 0.15  # of the time for rendering clips nobody has seen
EXPORT_SECONDS = 60.0
AGAIN = 0.5  # of the learning rates, for weights of an earlier training
DECAY = 0.999  # of the averaged weights
COMPILE_SHARE = 0.2  # of the budget; who takes longer than that to compile does without
PART_BYTES = 14_000_000


class Kitchen:
    """Renders and encodes clips into the pool of latents that the transformer learns from."""

    def __init__(self, source: Source, vae: nn.Module, room: int, half: bool):
        from comfy.latent_formats import Wan21

        self.source, self.vae, self.half, self.pool = source, vae, half, Pool(room)
        self.scale, self.seconds = Wan21().process_in, 0.0

    def take(self, clips: dict[str, Tensor]) -> None:
        """Encode a batch of clips into the pool."""
        video = self.scale(encode(self.vae, clips["frames"], self.half))
        reference = self.scale(encode(self.vae, clips["reference"][:, :, None], self.half, 64))
        self.pool.add({"video": video.half(), "reference": reference.half(), "sound": clips["sound"],
                       "mouths": clips["mouths"]})

    def fresh(self) -> None:
        """One more batch of new clips; counts the seconds that it took."""
        began = time.monotonic()
        self.take(self.source.batch())
        if self.source.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.monotonic() - began


def past_of(video: Tensor, start: int) -> Tensor:
    """The motion frames of a chunk from the latents before it, as the host's Extend node gives them, with noise that
    makes up for what generated frames will lack; half of the time as long as a third chunk's.  Zeros before it, which the
    model would add by itself, so that all pasts have one shape."""
    before = video[:, :, :start]
    if torch.rand(()).item() < REPEATED_MOTION:
        before = before.repeat(1, 1, -(-MOTION_LATENTS // before.shape[2]), 1, 1)
    before = before[:, :, -MOTION_LATENTS:]
    size = torch.rand(len(before), 1, 1, 1, 1, device=before.device) * MOTION_NOISE
    return pad(before + size * torch.randn_like(before), (0, 0) * 2 + (MOTION_LATENTS - before.shape[2], 0))


@lru_cache(maxsize=4)
def texts(device: torch.device) -> tuple[Tensor, Tensor]:
    """The empty prompt and the prompt."""
    return negative().to(device), positive().to(device)


def conditions(sound: Tensor) -> tuple[Tensor, Tensor]:
    """The prompt [B, 4, 64], sometimes empty, and the sound [B, A, D], sometimes missing along with it."""
    draw = lambda: torch.rand(len(sound), device=sound.device)  # noqa: E731
    silent = sound.flatten(1).sum(1) == 0
    empty = draw() < torch.where(silent, SILENT_NO_TEXT, NO_TEXT)
    context = torch.where(empty[:, None, None], *texts(sound.device))
    return context, sound * ~(empty & (draw() < NO_SOUND))[:, None, None]


def drawn(data: dict[str, Tensor], places: Tensor, extends: bool) -> Inputs:
    """One random batch: what the model is given, and the `target` and `weight` of what it makes of it."""
    video, batch = data["video"][places].float(), len(places)
    start = int(torch.randint(1, video.shape[2] - LATENT_FRAMES + 1, ())) if extends else 0
    chunk = slice(start, start + LATENT_FRAMES)
    clean, noise = video[:, :, chunk], torch.randn_like(video[:, :, chunk])
    context, sound = conditions(as_features(data["sound"][places, 4 * start : 4 * (start + LATENT_FRAMES)]))
    past = {"reference_motion": past_of(video, start)} if extends else {}
    order = torch.randperm(batch, device=video.device)  # times spread evenly over the batch
    sigma = shifted((order + torch.rand(batch, device=video.device)) / batch, SHIFT)
    mix = sigma.view(-1, 1, 1, 1, 1)
    weight = 1 + (MOUTH_WEIGHT - 1) * data["mouths"][places, None, chunk].float()
    return past | {"reference_latent": data["reference"][places].float(), "context": context, "sound": sound,
                   "x": (1 - mix) * clean + mix * noise, "timestep": sigma * 1000, "target": noise - clean,
                   "weight": weight / weight.mean()}


def flow_loss(model: nn.Module, inputs: Inputs, half: bool) -> Tensor:
    """Flow-matching loss of a batch: predict noise - clean from their mix; mouths count more."""
    given = {name: inputs[name] for name in ("reference_latent", "context", "reference_motion") if name in inputs}
    given |= {"audio_embed": audio_embed(inputs["sound"]), "control_video": torch.zeros_like(inputs["x"])}
    with precision(inputs["x"].device, half):
        velocity = model(inputs["x"], inputs["timestep"], **given)
    return ((velocity.float() - inputs["target"]).square() * inputs["weight"]).mean()


def where_it_is(function: Callable, argument: int) -> Callable:
    """The function, with the tensors that it makes where one of its arguments is, not copied there from the CPU."""
    def run(*arguments: object, **named: object) -> object:
        with arguments[argument].device:
            return function(*arguments, **named)

    return run


@contextmanager
def trainable_kernels() -> Iterator[None]:
    """A rotary embedding with a gradient, and attention that compiles without a change of its settings inside."""
    import comfy.ldm.wan.model as wan
    import comfy.ops

    usual, times = comfy.ops.scaled_dot_product_attention, wan.sinusoidal_embedding_1d
    pack = wan.FramePackMotioner.forward
    wan.sinusoidal_embedding_1d, wan.FramePackMotioner.forward = where_it_is(times, 1), where_it_is(pack, 1)
    comfy.ops.scaled_dot_product_attention = scaled_dot_product_attention
    torch.backends.cuda.enable_cudnn_sdp(False)  # plans its kernels anew for every shape
    try:
        with rope_with_gradient():
            yield
    finally:
        comfy.ops.scaled_dot_product_attention = usual
        wan.sinusoidal_embedding_1d, wan.FramePackMotioner.forward = times, pack


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer; whole seconds, main thread only."""
    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(int(seconds))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def compiled_or_not(model: nn.Module, pool: Pool, batch: int, half: bool, clock: Clock) -> nn.Module:
    """Compile the blocks in place if that works here, and soon enough; plain blocks otherwise."""
    plain = [block.forward for block in model.blocks]
    try:
        torch._dynamo.config.recompile_limit = 64
        for block in model.blocks:
            block.forward = torch.compile(block.forward, dynamic=False)
        with no_longer_than(COMPILE_SHARE * clock.seconds):
            for extends in (False, True):
                flow_loss(model, drawn(pool.data, pool.pick(batch), extends), half).backward()
                say(f"dit: compiled, {'with' if extends else 'without'} a past", clock)
    except Exception as error:  # the compiler may be missing or broken in many ways
        say(f"dit: not compiled: {type(error).__name__}: {str(error)[:300]}", clock)
        for block, forward in zip(model.blocks, plain):
            block.forward = forward
    model.zero_grad(set_to_none=True)
    return model


def steps_of(model: nn.Module, pool: Pool, batch: int, half: bool, clock: Clock) -> list[Callable[[Inputs], Tensor]]:
    """What takes inputs without a past, and with one: recorded if that works here; else the loss itself."""
    plain = lambda inputs: flow_loss(model, inputs, half)  # noqa: E731
    if next(model.parameters()).device.type != "cuda":
        return [plain, plain]
    try:
        made = []
        for extends in (False, True):
            inputs = drawn(pool.data, pool.pick(batch), extends)
            made.append(Recorded(model, plain, inputs))
            say(f"dit: recorded, {made[-1].milliseconds():.1f} ms a pass", clock)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # recording may fail in as many ways as compiling
        say(f"dit: not recorded: {type(error).__name__}: {str(error)[:300]}", clock)
        made = [plain, plain]
    model.zero_grad(set_to_none=True)
    return made


def export(shadow: dict[str, Tensor], work: Path, out: Path) -> None:
    """Save averaged weights in the work folder, and in parts small enough to carry in the folder of results."""
    model = build_dit(dict(CONFIG))
    model.load_state_dict(shadow)
    save_model(model, work / DIT, dict(CONFIG))
    whole = (work / DIT).read_bytes()
    for number, start in enumerate(range(0, len(whole), PART_BYTES)):
        part = work / "part"
        part.write_bytes(whole[start : start + PART_BYTES])
        shutil.copyfile(part, out / f"{DIT}.{number}")


def join(folder: Path, path: Path) -> None:
    """Put the parts of an exported transformer together again."""
    parts = sorted(folder.glob(f"{DIT}.[0-9]"))
    if not parts:
        raise FileNotFoundError(f"no parts of {DIT} in {folder}")
    partial = path.with_suffix(".partial")
    partial.write_bytes(b"".join(part.read_bytes() for part in parts))
    os.replace(partial, path)


def start_model(start: Path | None) -> nn.Module:
    """New weights, or those of an earlier training."""
    if start is not None and (start / DIT).exists():
        return load_weights(build_dit(dict(CONFIG)), start / DIT).train()
    return initialise_dit(build_dit(dict(CONFIG)))


def fitting(model: nn.Module, pool: Pool, batch: int, half: bool, clock: Clock) -> tuple[int, list[Callable]]:
    """The largest batch that fits into the memory, halved until it does, and what takes the inputs."""
    while True:
        try:
            return batch, steps_of(model, pool, batch, half, clock)
        except torch.OutOfMemoryError:
            batch = halved(batch, model, clock)


def halved(batch: int, model: nn.Module, clock: Clock) -> int:
    """Half the batch, after it did not fit into the memory."""
    if batch < 2:
        raise MemoryError("not even one clip fits into the memory")
    model.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    say(f"dit: out of memory, {batch // 2} chunks in a step from now on", clock)
    return batch // 2


def train_dit(kitchen: Kitchen, start: Path | None, work: Path, out: Path, until: float, clock: Clock, batch: int,
              half: bool, compiles: bool) -> None:
    """Train until a moment; exports the averaged weights every minute and at the end."""
    model, pool = start_model(start).to(kitchen.source.device), kitchen.pool
    share = AGAIN if start is not None and (start / DIT).exists() else 1.0
    optimisers = optimisers_for(model, hidden, MUON_RATE * share, RATE * share)
    with trainable_kernels():
        if compiles:
            compiled_or_not(model, pool, batch, half, clock)
        batch, steps = fitting(model, pool, batch, half, clock)
        loop = Loop("dit", model, optimisers, until, clock, DECAY)
        saved, cooked = time.monotonic(), kitchen.seconds
        for step in loop.steps():
            extends = step % EXTEND_EVERY == EXTEND_EVERY - 1
            try:
                loss = steps[extends](drawn(pool.data, pool.pick(batch), extends))
                loop.advance(loss, f"clips {pool.count} of {kitchen.source.made * kitchen.source.count}")
            except torch.OutOfMemoryError:
                batch, steps = fitting(model, pool, halved(batch, model, clock), half, clock)
            now = time.monotonic()
            if kitchen.seconds - cooked < FRESH_SHARE * (now - loop.start):
                kitchen.fresh()
            if now - saved > EXPORT_SECONDS:
                export(loop.ema.shadow, work, out)
                saved = now
        loop.report()
    export(loop.ema.shadow, work, out)
