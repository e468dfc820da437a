"""The boundary to ComfyUI: a Session per sampling run, installed at sample time and removed when it ends.

Nothing is written onto modules and nothing lives in a node's execute(): the patched MODEL carries wrappers only. Facts of
the host: ComfyUI 0.20 to 0.33, comfy/patcher_extension.py (wrappers) and comfy/ldm/wan/model.py (block replacement).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import comfy.model_management
import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP

from ..synccache_core import Adapter, Config, Session, StateError, find
from ..synccache_core.layout import groups_for_ratio
from .run import RunHandle

log = logging.getLogger("synccache")

KEY = "synccache"
AUTO = "auto"
FEW_STEPS = 8
RIVALS = ("easycache", "teacache", "magcache", "fbcache", "lazycache", "spectrum")


def attach(model, config: Config, mask, handle: RunHandle, say: Callable[[str], None], cache_device: str = AUTO):
    """A clone of the ModelPatcher whose sampling runs go through SyncCache.

    mask: human mask or None. say(text): live text of the node. cache_device: auto, gpu or cpu.
    Raises UnsupportedModel, StateError where SyncCache is applied already or another cache is.
    """
    find(diffusion_model(model))
    if KEY in model.wrappers.get(WrappersMP.OUTER_SAMPLE, {}):
        raise StateError("SyncCache is already applied to this model: use one SyncCache node per model line")
    refuse_rivals(model.model_options)
    patched = model.clone()
    if config.off:
        handle.remark = "off: target_speedup is 1, the model runs as it is"
        say(handle.remark)
        return patched
    run = HostRun(config, mask, handle, say, cache_device)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, run.outer_sample)
    patched.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, run.prepare_sampling)
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, predict_noise)
    patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, diffusion_model_call)
    return patched


def diffusion_model(model) -> torch.nn.Module:
    """The DiT of a ModelPatcher, behind torch's compiled wrapper where there is one."""
    dit = model.get_model_object("diffusion_model")
    return getattr(dit, "_orig_mod", dit)


def refuse_rivals(model_options: dict) -> None:
    """Two caches on one model would each measure the other's shortcuts."""
    options = model_options.get("transformer_options", {})
    found = [name for name in RIVALS for key in options if isinstance(key, str) and name in key.lower()]
    if found:
        raise StateError(f"another cache ({found[0]}) is applied to this model: remove it, or remove SyncCache")


def refuse_multigpu(model) -> None:
    """The host's work split runs branches on several devices at once; one run's state is for one device."""
    additional = getattr(model, "get_additional_models_with_key", None)
    if additional is not None and additional("multigpu"):
        raise StateError("SyncCache does not work on a model that is split over several GPUs: remove one of the two")


@dataclass
class HostRun:
    """Settings of a patched MODEL; each sampling run gets an Active of its own."""

    config: Config
    mask: torch.Tensor | None
    handle: RunHandle
    say: Callable[[str], None]
    cache_device: str

    def __deepcopy__(self, memo):
        return self

    def outer_sample(self, executor, *args, **kwargs):
        """OUTER_SAMPLE: args are noise, latent_image, sampler, sigmas, ...; executor.class_obj is the guider."""
        guider, sigmas = executor.class_obj, args[3].tolist()
        before = guider.model_options
        guider.model_options = comfy.model_patcher.create_model_options_clone(before)
        active = None
        try:
            active = self._start(guider, args[0].shape, sigmas)
            return executor(*args, **kwargs)
        finally:
            guider.model_options = before
            if active is not None:
                self._end(active)

    def prepare_sampling(self, executor, model, noise_shape, *args, **kwargs):
        """PREPARE_SAMPLING: ask the host for room by enlarging the batch by which it estimates memory."""
        reserve = self._gpu_bytes(model, noise_shape)
        if reserve:
            need = model.model.memory_required([noise_shape[0], *noise_shape[1:]])
            noise_shape = [noise_shape[0] * (1 + reserve / max(need, 1)), *noise_shape[1:]]
        return executor(model, noise_shape, *args, **kwargs)

    def _start(self, guider, noise_shape, sigmas: list[float]) -> "Active":
        refuse_rivals(guider.model_options)
        refuse_multigpu(guider.model_patcher)
        dit = diffusion_model(guider.model_patcher)
        adapter = find(dit)
        config = replace(self.config, cache_device=self._device(guider.model_patcher, noise_shape))
        session = Session(
            config, adapter.layout(dit), sigmas, lambda grid, tokens: adapter.cost(dit, grid, tokens), self.mask,
            adapter.title, lambda report, expected: self.say(report.progress(expected)),
        )
        active = Active(session, adapter)
        for sentence in remarks(guider, len(sigmas) - 1):
            session.note(sentence)
        options = guider.model_options["transformer_options"]
        options[KEY] = active
        replaced = options.setdefault("patches_replace", {}).setdefault("dit", {})
        for index in range(session.layout.blocks):
            replaced[("double_block", index)] = BlockHook(active, index, replaced.get(("double_block", index)))
        self.handle.add(session.report)
        return active

    def _end(self, active: "Active") -> None:
        """Free the run. A failure here must never hide the exception that ended the run."""
        try:
            active.session.close()
            report = active.session.report
            log.info("SyncCache: %s", report.summary().replace("\n", "; "))
            if report.steps:
                self.say("\n".join([report.progress(len(report.steps)), *report.why_slow()]))
        except Exception:  # noqa: BLE001 - the second named boundary spot
            log.exception("SyncCache: cleaning up failed")

    def _device(self, model, noise_shape) -> str:
        """Core's name for the place of the residuals. auto: host memory once they would take a quarter of the GPU's."""
        if self.cache_device != AUTO:
            return "cpu" if self.cache_device == "cpu" else "same"
        if comfy.model_management.is_device_cpu(model.load_device):
            return "same"
        total = comfy.model_management.get_total_memory(model.load_device)
        return "cpu" if residual_bytes(model, noise_shape, self.config) > total / 4 else "same"

    def _gpu_bytes(self, model, noise_shape) -> int:
        if self._device(model, noise_shape) == "cpu":
            return 0
        return residual_bytes(model, noise_shape, self.config)


def residual_bytes(model, noise_shape, config: Config) -> int:
    """Bytes of all stored residuals, conditional and unconditional branch together, for a latent [B, C, T, H, W]."""
    dit = diffusion_model(model)
    adapter = find(dit)
    tokens = adapter.grid(torch.empty(*noise_shape, device="meta")).tokens
    size = comfy.model_management.dtype_size(model.model.get_dtype_inference())
    groups = groups_for_ratio(adapter.layout(dit), config.cache_ratio)
    wanted = 2 * noise_shape[0] * tokens * adapter.width(dit) * size * groups * (config.forecast_order + 1)
    return min(wanted, config.memory_budget) if config.memory_budget is not None else wanted


def remarks(guider, steps: int) -> list[str]:
    """What a person should know before judging this run."""
    found = []
    if steps <= FEW_STEPS:
        found.append(f"{steps} steps: a distilled or short run leaves little to skip")
    if guider.model_options.get("context_handler") is not None:
        found.append("context windows: ComfyUI gives every Wan-S2V window the audio of the first one")
    return found


class Active:
    """One run in progress, an opaque object in transformer_options. call: the forward pass in progress."""

    def __init__(self, session: Session, adapter: Adapter):
        self.session = session
        self.adapter = adapter
        self.call = None

    def __deepcopy__(self, memo):
        return self

    def begin(self, latent: torch.Tensor, options: dict):
        """Start the session's call for one forward pass of the host."""
        replaced = options.get("patches_replace", {}).get("dit", {})
        ours = all(
            isinstance(hook := replaced.get(("double_block", i)), BlockHook) and hook.active is self
            for i in range(self.session.layout.blocks)
        )
        branches = branch_keys(options)
        even = latent.shape[0] % len(branches) == 0
        if not ours:
            self.session.note("another extension replaced blocks in some passes: those were computed as they are")
        return self.session.call(branches, self.adapter.grid(latent), foreign=not (ours and even))


def branch_keys(options: dict) -> list[tuple]:
    """One key per chunk of the batch: the conditioning's uuid and the context window."""
    window = options.get("context_window")
    frames = tuple(window.index_list) if window is not None else None
    chunks = options.get("uuids") or options.get("cond_or_uncond") or ["only"]
    return [(chunk, frames) for chunk in chunks]


class BlockHook:
    """The replacement of one block; what another extension had put there runs in the block's place."""

    def __init__(self, active: Active, index: int, previous):
        self.active = active
        self.index = index
        self.previous = previous
        # Whole-model compilation drops the guards on transformer_options: a traced hook would freeze one decision.
        self._run = torch.compiler.disable(self._replace)

    def __deepcopy__(self, memo):
        return self

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
        result = {}

        def run(hidden):
            result.update(self._original(args if hidden is args["img"] else {**args, "img": hidden}, extra))
            return result["img"]

        hidden = call.block(self.index, args["img"], run)
        return {**result, "img": hidden}

    def _original(self, args: dict, extra: dict) -> dict:
        if self.previous is not None:
            return self.previous(args, extra)
        return extra["original_block"](args)


def predict_noise(executor, x, timestep, model_options=None, *args, **kwargs):
    """PREDICT_NOISE: one evaluation of the sampler."""
    active = (model_options or {}).get("transformer_options", {}).get(KEY)
    if active is None:
        return executor(x, timestep, model_options, *args, **kwargs)
    with active.session.evaluation(timestep.flatten()[0].item()):
        return executor(x, timestep, model_options, *args, **kwargs)


def diffusion_model_call(executor, *args, **kwargs):
    """DIFFUSION_MODEL: one forward pass; args[0] is the latent, transformer_options stand last or among the keywords."""
    options = next((a for a in reversed(args) if isinstance(a, dict)), None) or kwargs.get("transformer_options", {})
    active = options.get(KEY)
    if active is None:
        return executor(*args, **kwargs)
    active.call = active.begin(args[0], options)
    try:
        return executor(*args, **kwargs)
    finally:
        active.call = None
