"""The boundary to ComfyUI: a Session per sampling run, installed at sample time and removed when it ends.

Nothing is written onto modules and nothing lives in a node's execute(): the patched MODEL carries wrappers only. Facts of
the host: ComfyUI 0.20 to 0.33, comfy/patcher_extension.py (wrappers) and comfy/ldm/wan/model.py (block replacement).
"""

import logging
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider

from ..synccache_core import Bound, Config, Noise, Plan, RunReport, Sampler, Session, StateError
from ..synccache_core.decide.paper import paper_config
from ..synccache_core.human.mask import as_mask
from ..synccache_core.planning.plan import check
from ..synccache_core.planning.planned import fewer, planned_config, settings_of
from ..synccache_core.sentences import say
from .guider import guidance, needs_blocks, noise_of, ranges, remarks, schedule_of, served, text_tokens, unpadded
from .hooks import KEY, Active, diffusion_model_call, predict_noise, sampler_of, unrecorded
from .room import allowed, barred, grid_of, residual_bytes, video_of
from .run import RunHandle, Shared
from .samplers import noting

log = logging.getLogger("synccache")

AUTO = "auto"
RESULT = f"{KEY}_result"
RIVALS = ("easycache", "teacache", "magcache", "fbcache", "lazycache", "spectrum")


def attach(
    model: ModelPatcher, config: Config, mask: torch.Tensor | None, handle: RunHandle, cache_device: str = AUTO,
    plan: Plan | None = None, paper: bool = False,
) -> ModelPatcher:
    """A clone of the ModelPatcher whose sampling runs go through SyncCache.

    mask: human mask or None. cache_device: auto, gpu or cpu. plan: overrides what it decides of the config. paper: the
    paper's method instead. Raises UnsupportedModel, BadInput where the plan is for another model, StateError where
    SyncCache is applied already or another cache is.
    """
    bound = served(model)
    needs_blocks(bound, config, plan, paper)
    if plan is not None:
        check(plan, bound.adapter.name, bound.layout)
    if paper:
        config, plan = paper_config(config, bound.layout, plan.boundaries if plan else ()), None
    patched = install(model, CacheRun(mask, handle, config, cache_device, plan))
    recognise(bound, handle)
    if plan is None and config.off:
        handle.tell(say("off: target_speedup is 1, the model runs as it is"))
        return model.clone()
    return patched


def recognise(bound: Bound, handle: RunHandle) -> None:
    """Say which model was found."""
    layout = bound.layout
    handle.send(recognised={"model": bound.adapter.title, "blocks": layout.blocks, "refreshes": layout.refreshes})


def install(model: ModelPatcher, run: "HostRun") -> ModelPatcher:
    """Put the wrappers of a run onto a clone. Raises StateError where there is a cache already."""
    for method in model.wrappers.get(WrappersMP.OUTER_SAMPLE, {}).get(KEY, []):
        raise StateError(
            f"{method.__self__.title} is already applied to this model: use one SyncCache or SyncCache Calibrate node per "
            f"model line, this is a second ({run.title})"
        )
    refuse_rivals(model.model_options)
    patched = model.clone()
    inner = patched.wrappers.pop(WrappersMP.OUTER_SAMPLE, {})
    patched.wrappers[WrappersMP.OUTER_SAMPLE] = {RESULT: [run.result], **inner, KEY: [run.outer_sample]}
    patched.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, run.prepare_sampling)
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, predict_noise)
    patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, diffusion_model_call)
    return patched


def packed(kwargs: dict) -> list:
    """Shapes of the latents that one run samples together, such as picture and sound; none where there is one."""
    shapes = kwargs.get("latent_shapes") or ()
    return [tuple(shape) for shape in shapes] if len(shapes) > 1 else []


def refuse_rivals(model_options: dict) -> None:
    """Two caches on one model would each measure the other's shortcuts."""
    options = model_options.get("transformer_options", {})
    found = [name for name in RIVALS for key in options if isinstance(key, str) and name in key.lower()]
    if found:
        raise StateError(f"another cache ({found[0]}) is applied to this model: remove it, or remove SyncCache")


def refuse_multigpu(model: ModelPatcher) -> None:
    """The host's work split runs branches on several devices at once; one run's state is for one device."""
    additional = getattr(model, "get_additional_models_with_key", None)
    if additional is not None and additional("multigpu"):
        raise StateError("SyncCache does not work on a model that is split over several GPUs: remove one of the two")


@dataclass
class HostRun(Shared):
    """Settings of a patched MODEL; each sampling run gets an Active of its own. mask: human mask or None."""

    mask: torch.Tensor | None
    handle: RunHandle

    title = ""

    def __post_init__(self):
        """Raises BadMask where the mask is none, before anything is sampled."""
        self.mask = None if self.mask is None else as_mask(self.mask, "human_mask")

    def session(self, guider: CFGGuider, bound: Bound, shapes: Sequence, sigmas: list[float], sampler: Sampler) -> Session:
        """shapes: of the noise, and of the latents that it holds where these are several. sigmas: as the core counts."""
        raise NotImplementedError

    def gpu_bytes(self, model: ModelPatcher, shapes: Sequence) -> int:
        """Room that the run will take beside the model. shapes: as for `session`."""
        return 0

    def outer_sample(self, executor, *args, **kwargs):
        """OUTER_SAMPLE: args are noise, latent_image, sampler, sigmas, ...; executor.class_obj is the guider.

        Inside those of all nodes, behind this one in the model line as well: one may sample in parts, and change the latent
        between them.
        """
        others = executor.wrappers[executor.idx + 1 :]
        if others:
            chain = executor.new_class_executor(executor.original, executor.class_obj, [*others, self.outer_sample])
            return chain.execute(*args, **kwargs)
        with self.running(executor.class_obj, args, kwargs) as (_, given):
            return executor(*given, **kwargs)

    def result(self, executor, *args, **kwargs):
        """OUTER_SAMPLE, around all others: InfiniteTalk's replaces frames of the latent at its end."""
        result = executor(*args, **kwargs)
        self.handle.gave(result)
        return result

    def steps(self, sigmas: list[float]) -> tuple[Sequence[int], str]:
        """Which steps of a run over `sigmas` [N + 1] are taken, and a note."""
        return range(len(sigmas) - 1), ""

    @contextmanager
    def running(self, guider: CFGGuider, args: Sequence, kwargs: dict):
        """One sampling run of a guider, its session installed and freed: (session, what to call the executor with).

        args, kwargs: those of `outer_sample`. Where fewer steps are taken, the sampler gets the sigmas of these, and counts
        its progress and previews by them. The sigmas are copied: the host's uni_pc writes into those that it is given, which
        may belong to a node whose output goes to several samplers.
        """
        before = guider.model_options
        guider.model_options = create_model_options_clone(before)
        active, finished = None, False
        try:
            noise = noise_of(guider.model_patcher)
            given = list(map(noise.level, schedule_of(args[3])))
            steps, note = self.steps(given)
            sigmas = args[3][[*steps, -1]]
            least = noise.level(float(guider.model_patcher.get_model_object("model_sampling").sigma_min))
            shapes, levels = [args[0].shape, *packed(kwargs)], list(map(noise.level, schedule_of(sigmas)))
            levels = unpadded(levels, least)
            active = self._start(guider, shapes, levels, sampler_of(args[2], sigmas, noise), noise)
            active.session.report.part |= not args[0].any()  # no noise is added: it goes on from another run's
            if len(steps) < len(given) - 1:
                active.session.report.shorten(len(given) - 1, len(steps))
            if note:
                active.session.report.note(note)
                active.session.report.remapped = True
            with unrecorded():
                yield active.session, (*args[:2], noting(args[2], active.ask), sigmas, *args[4:])
            finished = True
        finally:
            guider.model_options = before
            if active is not None:
                self._end(active, finished)

    def prepare_sampling(self, executor, model: ModelPatcher, noise_shape: Sequence[int], *args, **kwargs):
        """PREPARE_SAMPLING: ask the host for room by enlarging the batch by which it estimates memory."""
        active = ((kwargs.get("model_options") or {}).get("transformer_options") or {}).get(KEY)
        # A calibration's replays are runs of their own, which pass through the wrappers of the calibration.
        run, parts = (self, ()) if active is None else (active.run, active.parts)
        reserve = run.gpu_bytes(model, [noise_shape, *parts])
        if reserve:
            need = model.model.memory_required([noise_shape[0], *noise_shape[1:]])
            noise_shape = [noise_shape[0] * (1 + reserve / max(need, 1)), *noise_shape[1:]]
        return executor(model, noise_shape, *args, **kwargs)

    def progress(self, report: RunReport, expected: int) -> None:
        self.handle.show(report, expected)

    def ended(self, report: RunReport) -> None:
        """The run is over, or was interrupted."""
        self.handle.show(report, len(report.steps), ended=True)

    def _start(self, guider: CFGGuider, shapes: Sequence, sigmas: list[float], sampler: Sampler, noise: Noise) -> Active:
        refuse_rivals(guider.model_options)
        refuse_multigpu(guider.model_patcher)
        bound = served(guider.model_patcher)
        session = self.session(guider, bound, shapes, sigmas, sampler)
        given = bound, guider.model_options, video_of(shapes), guider.model_patcher.object_patches
        why = "" if session.run.listener else barred(session.config, *given)
        active = Active(session, bound, noise, shapes[1:], self, why)
        session.report.note(*remarks(guider, bound))
        active.hook(guider.model_options["transformer_options"])
        self.handle.add(session.report)
        return active

    def _end(self, active: Active, finished: bool) -> None:
        """Free the run. A failure here must never hide the exception that ended the run."""
        try:
            active.session.close(finished)
            report = active.session.report
            log.info("SyncCache: %s", report.summary().replace("\n", "; "))
            if report.steps:
                self.ended(report)
        except Exception:  # noqa: BLE001 - the second named boundary spot
            log.exception("SyncCache: cleaning up failed")


@dataclass
class CacheRun(HostRun):
    """config: what the person asked for, of which a plan overrules what it decides. cache_device: auto, gpu or cpu."""

    config: Config
    cache_device: str = AUTO
    plan: Plan | None = None

    title = "SyncCache"
    made = Session

    def steps(self, sigmas: list[float]) -> tuple[Sequence[int], str]:
        return fewer(self.plan, sigmas) if self.plan is not None else super().steps(sigmas)

    def session(self, guider: CFGGuider, bound: Bound, shapes: Sequence, sigmas: list[float], sampler: Sampler) -> Session:
        needs_blocks(bound, self.config, self.plan, False)  # an extension may make another model of it behind our node
        text, scale = text_tokens(guider), guidance(guider)
        video = video_of(shapes)
        settings = settings_of(self.config, bound, grid_of(bound, video), sigmas, sampler, self.plan, text, self.mask, scale)
        config, said = allowed(settings.config, bound, guider.model_options, video, guider.model_patcher.object_patches)
        session = self.made(
            replace(config, cache_device=self._device(guider.model_patcher, shapes)), bound.layout, sigmas,
            partial(bound.cost, text=text), self.mask, model=bound.adapter.title, on_step=self.progress, sampler=sampler,
            ranges=ranges(guider), guidance=scale, parts=shapes[1:],
        )
        if self.plan is not None:
            overruled = "preset, target_speedup, cache_ratio, reuse, forecast_order, warmup and live"
            session.report.note(say("a plan decides: {inputs} have no say", inputs=overruled))
        settings.tell(session.report)
        session.report.note(*said)
        return session

    def gpu_bytes(self, model: ModelPatcher, shapes: Sequence) -> int:
        if self._device(model, shapes) == "cpu" or self.plan is not None and self.plan.plain:
            return 0
        return self._bytes(model, shapes)

    def _bytes(self, model: ModelPatcher, shapes: Sequence) -> int:
        config, sampler, bound = self.config, Sampler(), served(model)
        if self.plan is not None:
            sampler = Sampler(self.plan.run.sampler)
            config = planned_config(self.plan, config, bound.adapter.name, bound.layout)
        return residual_bytes(model, video_of(shapes), config, sampler, prod(shapes[0]), self.mask)

    def _device(self, model: ModelPatcher, shapes: Sequence) -> str:
        """Core's name for the place of the residuals. auto: host memory once they would take a quarter of the GPU's."""
        if self.cache_device != AUTO:
            return "cpu" if self.cache_device == "cpu" else "same"
        if comfy.model_management.is_device_cpu(model.load_device):
            return "same"
        total = comfy.model_management.get_total_memory(model.load_device)
        return "cpu" if self._bytes(model, shapes) > total / 4 else "same"
