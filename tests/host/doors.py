"""The contract of an adapter through ComfyUI's door: the hooks that a run installs, on ComfyUI's own class.

A family adds a file tests/host/test_<family>.py with `check(case(...))`.
"""

import importlib
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import torch


def contract(comfy) -> SimpleNamespace:
    """The contract's modules as the host imported them."""
    names = ("case", "checks")
    return SimpleNamespace(**{name: importlib.import_module(f"{comfy.core.__name__}.contract.{name}") for name in names})


def host_case(comfy, make, adapter, grid, x_shape, audio_shape, call, **more):
    """make() -> the host's module. call(model, x, sigma, audio, transformer_options) -> output."""
    case = contract(comfy).case.Case(make, adapter, grid, x_shape, audio_shape, **more)
    case.options = {}
    case.call = lambda model, x, sigma, audio: call(model, x, sigma, audio, dict(case.options))
    case.install = partial(hooked, comfy)
    return case


def check(comfy, case) -> list[str]:
    return contract(comfy).checks.check_adapter(case)


@contextmanager
def hooked(comfy, case, config):
    """A session whose hooks are in `case.options`, as a sampling run puts them into transformer_options."""
    class Hooked(comfy.core.Session):
        @contextmanager
        def branch(self, *names):
            case.options["uuids"] = list(names)
            try:
                yield self
            finally:
                case.options.pop("uuids")

    bound = case.bound
    session = Hooked(config, bound.layout, case.sigmas, bound.cost, case.mask)
    active = comfy.hooks.Active(session, bound, comfy.core.Noise())
    case.options = {"wrappers": {"diffusion_model": {comfy.hooks.KEY: [comfy.hooks.diffusion_model_call]}}}
    active.hook(case.options)
    try:
        yield session
    finally:
        session.close()
        case.options = {}


def randomised(model, seed: int = 0, scale: float = 0.08):
    """A module of the host with random weights, norms around one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * scale + ("norm" in name and value.ndim == 1))
    return model.eval()
