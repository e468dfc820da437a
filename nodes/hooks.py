"""What runs inside ComfyUI's sampling: wrappers of its evaluations and forward passes, replacements of its blocks."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch
from comfy import cli_args, model_prefetch

from ..synccache_core import Bound, Noise, Sampler, Session
from ..synccache_core.config import OUTPUT
from ..synccache_core.model.live import LiveBlock
from ..synccache_core.model.noise import FLOW
from ..synccache_core.model.view import Pass
from ..synccache_core.run.call import Call
from ..synccache_core.sentences import say
from .compiled import uncompiled
from .run import Shared
from .samplers import innermost, learnt
from .windows import windowed

if TYPE_CHECKING:
    from .host import HostRun

KEY = "synccache"
REPLACED = say("another extension replaced blocks in some passes: those were computed as they are")
GUIDED = say("guidance switches off parts of the model in some passes: those were computed as they are")
BESIDE = say("a guide has another latent computed at every step: nothing of it is reused or counted")
LATENT, SAMPLED = "latent_type", ("xt", None)  # where RES4LYF says of which latent an evaluation is: the sampled one
BEHIND = "double_block"  # where the host looks for what extensions, such as Uni3C, run behind each block
TOLERANT = (0, 5, 3)  # of comfy-aimdo, the host's recorder of allocations
PREFETCH = "prefetch_dynamic_vbars"  # whether the host fetches the weights of a block while it runs the one before


class Active(Shared):
    """One run in progress, an opaque object in transformer_options. call: the forward pass in progress.

    noise: how the host counts it for this model. parts: shapes of the latents that are sampled together, () = there is one.
    run: whose settings it has. barred: why no pass can reuse residuals, "" where they can.
    """

    def __init__(
        self, session: Session, bound: Bound, noise: Noise, parts: Sequence = (), run: "HostRun | None" = None,
        barred: str = "",
    ):
        self.session = session
        self.session.guard.aside = outside_graph
        self.parts, self.run = tuple(parts), run
        self.bound, self.adapter = bound, bound.adapter
        self.noise = noise
        self.barred = barred
        self.places: list[tuple[str, int]] = []
        self.call: Call | None = None
        self.asked: torch.Tensor | None = None  # sigma of the innermost of several samplers, see `samplers.noting`

    def ask(self, sigma: torch.Tensor) -> None:
        self.asked = sigma

    def begin(self, options: dict, executor, args: tuple, kwargs: dict) -> tuple[Pass, Call]:
        """Start the session's call for one forward pass of the host, executor(*args, **kwargs): (pass, call)."""
        replaced = options.get("patches_replace", {}).get("dit", {})
        ours = all(isinstance(hook := replaced.get(place), BlockHook) and hook.active is self for place in self.places)
        branches = branch_keys(options)
        video = args[0][0] if isinstance(args[0], (list, tuple)) else args[0]  # several latents in one pass: the first is it
        grid = windowed(self.adapter.grid(video), options.get("context_window"))
        even = video.shape[0] % len(branches) == 0
        if not ours:
            self.session.report.note(REPLACED)
        guiding = self.adapter.foreign(options)
        if guiding and self.session.config.level != OUTPUT:  # whole results are reused with all passes that they are of
            self.session.report.note(GUIDED)
        one = Pass(executor.class_obj, grid, executor.original, args, kwargs)
        if self.barred:
            self.session.report.note(self.barred)
        foreign = guiding or bool(self.barred) or not (ours and even)
        skips = not foreign and not self.bound.runs_beside
        if options.get(PREFETCH) and skips and self.session.current.expects_reuse:
            options[PREFETCH] = False  # weights of blocks that are not run
        return one, self.session.call(branches, grid, foreign, partial(self.adapter.view, one))

    def hook(self, options: dict) -> None:
        """Put a hook where the host looks for replacements of each block; `options` are its transformer_options."""
        options[KEY] = self
        self.places = [block.place for block in self.bound.blocks]
        for index, block in enumerate(self.bound.blocks):
            replaced = options.setdefault("patches_replace", {}).setdefault("dit", {})
            replaced[block.place] = BlockHook(self, index, block.module, replaced.get(block.place))
        patches = options.get("patches", {})
        if BEHIND in patches:
            options["patches"] = {**patches, BEHIND: [PatchHook(self, patch) for patch in patches[BEHIND]]}


def outside_graph() -> AbstractContextManager:
    """Hosts from 0.34 on record what a block allocates, to lay it out themselves: nothing of it may outlive the block."""
    pause = getattr(model_prefetch, "pause_malloc_graph", None)
    return nullcontext() if pause is None else pause()


@contextmanager
def unrecorded():
    """Hosts of 0.34 record what a forward pass of LTX-2 or MiniMax-H3 allocates, and fail where anything else is freed
    meanwhile, such as states that a reused step handed on. They read at every pass whether to record.
    """
    args = cli_args.args
    if not hasattr(args, "disable_comfy_compiler") or _tolerant():
        yield
        return
    before, args.disable_comfy_compiler = args.disable_comfy_compiler, True
    try:
        yield
    finally:
        args.disable_comfy_compiler = before


def _tolerant() -> bool:
    """Whether what is freed beside a recording does not end it."""
    try:
        found = version("comfy-aimdo").split(".")
    except PackageNotFoundError:
        return True  # nothing records
    return tuple(int(part) for part in found[:3] if part.isdigit()) >= TOLERANT


def branch_keys(options: dict) -> list[tuple]:
    """One key per chunk of the batch: the conditioning's uuid and the context window."""
    window = options.get("context_window")
    frames = tuple(window.index_list) if window is not None else None
    chunks = options.get("uuids") or options.get("cond_or_uncond") or ["only"]
    return [(chunk, frames) for chunk in chunks]


def sampler_of(sampler, sigmas: torch.Tensor, noise: Noise = FLOW) -> Sampler:
    """The core's view of a ComfyUI SAMPLER for a run over the host's `sigmas`, with its name as in the list of samplers."""
    sampler = innermost(sampler)
    function = getattr(sampler, "sampler_function", None)
    name = getattr(function, "__name__", type(sampler).__name__).removeprefix("sample_").removesuffix("_function")
    options = getattr(sampler, "extra_options", None) or {}
    if name == "sa_solver" and options.get("use_pece"):
        name = "sa_solver_pece"
    if options.get("cfg_pp") and "cfg_pp" not in name:  # samplers of other extensions have it as an option
        name += "_cfg_pp"
    name = name.replace("unipc", "uni_pc")
    foreign = not getattr(function, "__module__", "comfy").startswith("comfy")
    found = Sampler(name, churn=options.get("s_churn", 0) > 0, foreign=foreign)
    return replace(found, response=learnt(function, options, sigmas, noise)) if found.multistep else found


class BlockHook(Shared):
    """The replacement of one block; what another extension had put there runs in the block's place."""

    def __init__(self, active: Active, index: int, module: torch.nn.Module, previous):
        self.active = active
        self.index = index
        self.module = module
        self.live = active.adapter.live(module)
        self.previous = previous
        self._names: tuple[str, ...] = ()  # of what the block returns beside its hidden state
        # Whole-model compilation drops the guards on transformer_options: a traced hook would freeze one decision.
        self._run = torch.compiler.disable(self._replace)

    def __call__(self, args: dict, extra: dict) -> dict:
        return self._run(args, extra)

    def to(self, *_args):
        """The host moves patches together with the model; what chains behind us may need it."""
        if hasattr(self.previous, "to"):
            self.previous = self.previous.to(*_args)
        return self

    def _replace(self, args: dict, extra: dict) -> dict:
        call = self.active.call
        if call is None:
            return self._original(args, extra)
        result, rest = {}, self.active.adapter.rest

        def whole(hidden, given):
            result.update(self._original({**given, "img": hidden}, extra))
            self._names = tuple(result)
            return result["img"]

        def some(hidden, given):
            with uncompiled():
                return whole(hidden, given)

        def run(hidden, **options):
            if not options:
                return whole(hidden, args)
            return some(hidden, {**args, "transformer_options": {**args.get("transformer_options", {}), **options}})

        part = LiveBlock(self.live, self.module, args, some, args["img"].ndim == 2) if self.live else None
        hidden = call.block(self.index, args["img"], run, partial(run, **rest) if rest else None, part)
        # What else a block hands on, such as the text's tokens, goes on as it came where the block was not run.
        return {**{name: args.get(name) for name in self._names}, **result, "img": hidden}

    def _original(self, args: dict, extra: dict) -> dict:
        if self.previous is not None:
            return self.previous(args, extra)
        return extra["original_block"](args)


class PatchHook(Shared):
    """What another extension runs behind each block, see `Call.behind`."""

    def __init__(self, active: Active, patch):
        self.active, self.patch = active, patch
        self._run = torch.compiler.disable(self._behind)  # as in BlockHook

    def __call__(self, args: dict) -> dict:
        return self._run(args)

    def to(self, *_args):
        if hasattr(self.patch, "to"):
            self.patch = self.patch.to(*_args)
        return self

    def _behind(self, args: dict) -> dict:
        call = self.active.call
        if call is None or "block_index" not in args:
            return self.patch(args)
        found = {}

        def change(hidden):
            found.update(self.patch({**args, "img": hidden}))
            return found["img"]

        return {**found, "img": call.behind(args["block_index"], args["img"], change)}


def predict_noise(executor, x, timestep, model_options=None, *args, **kwargs):
    """PREDICT_NOISE: one evaluation of the sampler, after guidance: denoised."""
    options = (model_options or {}).get("transformer_options", {})
    active = options.get(KEY)
    if active is None or options.get(LATENT) not in SAMPLED:
        if active is not None:
            active.session.report.note(BESIDE)
        return executor(x, timestep, model_options, *args, **kwargs)
    sigma, noise = timestep.flatten()[0].item(), active.noise
    seen, written = as_seen(x, options)
    computed = []

    def compute():
        computed.append(executor(x, timestep, model_options, *args, **kwargs))
        return computed[0]

    asked, active.asked = active.asked, None
    own = sigma if asked is None else asked.flatten()[0].item()
    told = None if own == sigma else noise.level(sigma)
    out = active.session.predict(noise.level(own), compute, noise.scaled(seen, sigma), told)
    if written and computed and out is not computed[0]:
        out[:, :, :written] = computed[0][:, :, :written]  # a correction of x has nothing to put right there
    return out


def as_seen(x: torch.Tensor, options: dict) -> tuple[torch.Tensor, int]:
    """(x [B, C, T, H, W] as the model will see it, how many latent frames of it are not the sampler's). A wrapper of
    InfiniteTalk's writes the frames that it goes on from into the model's input at every step, so that what the model gives
    there follows from these and not from x.
    """
    for wrappers in options.get("wrappers", {}).get("apply_model", {}).values():
        for frames in (getattr(wrapper, "init_latents", None) for wrapper in wrappers):
            if isinstance(frames, torch.Tensor) and frames.ndim == x.ndim == 5:
                x = torch.cat([frames.to(x).expand(len(x), -1, -1, -1, -1), x[:, :, frames.shape[2] :]], dim=2)
                return x, frames.shape[2]
    return x, 0


def diffusion_model_call(executor, *args, **kwargs):
    """DIFFUSION_MODEL: one forward pass; args[0] is the latent, transformer_options stand last or among the keywords."""
    options = next((a for a in reversed(args) if isinstance(a, dict)), None) or kwargs.get("transformer_options", {})
    active = options.get(KEY)
    if active is None or active.session.current is None:
        return executor(*args, **kwargs)
    if active.session.layout.unknown:
        active.session.count_pass()
        return executor(*args, **kwargs)
    one, active.call = active.begin(options, executor, args, kwargs)
    try:
        with active.adapter.listen(one, active.call):
            return executor(*args, **kwargs)
    finally:
        active.call.stop()
        active.call = None
