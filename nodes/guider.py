"""What is read of the host before a sampling run: of its guider, the conditioning, the model and the sigmas."""

from collections.abc import Iterator
from math import inf

import torch
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST
from comfy.samplers import CFGGuider

from ..synccache_core import Bound, Config, Noise, Plan, UnsupportedModel, serve, supported
from ..synccache_core.config import RESIDUAL
from ..synccache_core.decide.clock import END
from ..synccache_core.model.noise import DIFFUSION, FLOW
from ..synccache_core.sentences import say

WITHOUT_NOISE = "IMG_TO_IMG"  # the host's kinds of sampling that turn one picture into another begin so


def diffusion_model(model: ModelPatcher) -> torch.nn.Module:
    """The DiT of a ModelPatcher, behind torch's compiled wrapper where there is one."""
    dit = model.get_model_object("diffusion_model")
    return getattr(dit, "_orig_mod", dit)


def served(model: ModelPatcher) -> Bound:
    """The DiT of a ModelPatcher and its adapter. Raises UnsupportedModel where nothing is like at two steps, as where no
    noise is taken away.
    """
    kind, dit = model.get_model_object("model_sampling"), diffusion_model(model)
    if any(each.__name__.startswith(WITHOUT_NOISE) for each in type(kind).__mro__):
        name = type(dit).__name__
        raise UnsupportedModel(f"{name} turns one picture into another without noise: there are no steps to reuse")
    return Bound(serve(dit, model.model_options.get("transformer_options")), dit)


def needs_blocks(bound: Bound, config: Config, plan: Plan | None, paper: bool) -> None:
    """Raises UnsupportedModel, with the input and both values, where a model that is not known shall reuse residuals."""
    if not bound.layout.unknown or plan is not None and not paper or not paper and config.level != RESIDUAL:
        return
    asked, instead = "reuse is 'residuals'", "set reuse to auto or outputs"
    if paper:
        asked, instead = "preset is 'Paper'", "choose another preset"
    elif config.threshold is not None:
        asked, instead = f"probe_threshold is {config.threshold:g}", "set probe_threshold to 0"
    known = ", ".join(supported())
    raise UnsupportedModel(f"{asked}, which needs the blocks of {known}, but this model is {bound.adapter.title}: {instead}")


def noise_of(model: ModelPatcher) -> Noise:
    """How the sampler counts the noise of a ModelPatcher's model."""
    return FLOW if isinstance(model.get_model_object("model_sampling"), CONST) else DIFFUSION


def schedule_of(sigmas: torch.Tensor) -> list[float]:
    """A run's sigmas, with the end at 0 where a sampler before wrote uni_pc's 0.001 there."""
    values = sigmas.tolist()
    return [*values[:-1], 0.0] if len(values) > 1 and 0 < values[-1] <= END < values[-2] else values


def unpadded(levels: list[float], least: float) -> list[float]:
    """Noise levels of the steps that a run takes, and the end. Some extensions put a 0 in front of them, or, where they
    rise, behind them: it keeps the host from adding noise, and their samplers take it off again. Where those go on from
    another run, they end at the `least` level of the model and evaluate nothing there.
    """
    if len(levels) < 4 or not levels[-1] == 0 < levels[2]:
        return levels
    if levels[-3] < levels[-2]:
        return levels[:-1]
    if levels[0] > 0 or levels[1] < levels[2]:
        return levels
    return [*(level for level in levels if level > 1.01 * least), 0.0]


def text_tokens(guider: CFGGuider) -> int | None:
    """The longest prompt, to which the host repeats the others where it batches them; None where there is no text."""
    texts = [entry.get("cross_attn") for conditions in guider.conds.values() for entry in conditions]
    return max((text.shape[1] for text in texts if text is not None), default=None)


def guidance(guider: CFGGuider) -> float:
    """The scale of guidance, the first one where a guider has two, the largest where it has one per step; 1 where none."""
    scale = getattr(guider, "cfg1", getattr(guider, "cfg", 1.0))
    try:
        return float(torch.as_tensor(scale, dtype=torch.float64).max())
    except (TypeError, ValueError, RuntimeError):
        return 1.0  # whatever another extension's guider keeps there is its own affair


def ranges(guider: CFGGuider) -> list[tuple[float, float, bool]]:
    """(from, to, inside), as `Session` takes them, of the conditioning that holds for a part of the run only: prompts,
    guidance, ControlNets and LoRA keyframes with a start or an end.
    """
    sigma, noise = guider.model_patcher.get_model_object("model_sampling").percent_to_sigma, noise_of(guider.model_patcher)
    found = set()
    for conditions in guider.conds.values():
        for entry in conditions:
            found |= {one for one in percents(entry) if one[0] > 0 or one[1] < 1}
    # The host compares in float32.
    bounds = [torch.tensor([inf if start <= 0 else sigma(start), sigma(end)]).tolist() for start, end, _ in sorted(found)]
    return [(*map(noise.level, pair), inside) for pair, (*_, inside) in zip(bounds, sorted(found))]


def percents(entry: dict) -> Iterator[tuple[float, float, bool]]:
    """(start, end, inside) of all that an entry of the conditioning has for a part of the run, 0 to 1; see `ranges`."""
    start = max(entry.get("start_percent", 0.0), entry.get("clip_start_percent", 0.0))
    yield start, min(entry.get("end_percent", 1.0), entry.get("clip_end_percent", 1.0)), False
    control = entry.get("control")
    while control is not None:
        yield *getattr(control, "timestep_percent_range", (0.0, 1.0)), True
        control = getattr(control, "previous_controlnet", None)
    for hook in getattr(entry.get("hooks"), "hooks", ()):
        for keyframe in getattr(hook.hook_keyframe, "keyframes", ()):
            yield keyframe.start_percent, 1.0, True


def remarks(guider: CFGGuider, bound: Bound) -> list[str]:
    """What a person should know before judging this run."""
    if guider.model_options.get("context_handler") is None or bound.adapter.name != "wan_s2v":
        return []
    return [say("context windows: ComfyUI gives every Wan-S2V window the audio of the first one")]
