"""A ComfyUI SAMPLER: how what the model gives moves it, and, of those that run another one, which that is.

Of the latter kind are some of other extensions, which tell the model of less noise than there is.
"""

from collections.abc import Callable
from copy import copy
from functools import wraps

import torch

from ..synccache_core import Noise
from ..synccache_core.model.samplers import Response, response
from .guider import schedule_of


def inner(sampler) -> tuple[str, object] | None:
    """The option of a ComfyUI SAMPLER under which it has another one that it runs, and that one; None where it has none, or
    several, of which nobody knows when it runs which.
    """
    options = getattr(sampler, "extra_options", None) or {}
    found = [(name, each) for name, each in options.items() if callable(getattr(each, "sampler_function", None))]
    return found[0] if len(found) == 1 else None


def innermost(sampler):
    """The sampler that asks for what a SAMPLER evaluates: itself, or the one that it runs."""
    found = inner(sampler)
    return innermost(found[1]) if found else sampler


def noting(sampler, note: Callable[[torch.Tensor], None]):
    """A copy of a SAMPLER whose innermost one tells note(sigma) before it calls the model, which may be told another sigma
    by those around it. The sampler itself where it runs no other.
    """
    found = inner(sampler)
    if found is None:
        return sampler
    name, within = found
    noted = noting(within, note) if inner(within) else _noting(within, note)
    made = copy(sampler)
    made.extra_options = {**sampler.extra_options, name: noted}
    return made


def _noting(sampler, note: Callable[[torch.Tensor], None]):
    function, made = sampler.sampler_function, copy(sampler)

    @wraps(function)
    def noted(model, *args, **kwargs):
        return function(_Noting(model, note), *args, **kwargs)

    made.sampler_function = noted
    return made


class _Noting:
    """The model as a sampler function calls it, all else of which is as it was."""

    def __init__(self, model, note: Callable[[torch.Tensor], None]):
        self._model, self._note = model, note

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args, **kwargs):
        self._note(sigma)
        return self._model(x, sigma, *args, **kwargs)

    def __getattr__(self, name: str):
        return getattr(self._model, name)


def learnt(function, options: dict, sigmas: torch.Tensor, noise: Noise) -> Response:
    """The response of a sampler function, which runs once on a few numbers in place of a latent; its x begins at 0, which is
    the same however noise is counted, and ends without noise, or where the core's x is meant.
    """
    def sample(velocity, x):
        def denoised(x, sigma, **_):
            at = sigma.reshape(-1, 1, 1, 1, 1)
            scaled = noise.scaled(x, at)
            return scaled - noise.level(at) * velocity(scaled, sigma)

        # The function is given sigmas of its own: the host's uni_pc writes into them.
        end = function(denoised, x, sigmas.detach().cpu().float().clone(), {}, None, True, **options)
        return noise.scaled(end, schedule_of(sigmas)[-1])

    try:
        return response(sample, len(sigmas) - 1)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return ()  # a function of another extension that asks the model for more: its runs are not corrected
