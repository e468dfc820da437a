"""A model under TorchCompileModel: reuse still happens, and the result is that of the eager run."""

import pytest
import torch

from .test_ltx_av import sound  # noqa: F401 - a fixture

pytestmark = [pytest.mark.host, pytest.mark.slow]


@pytest.mark.parametrize("first", ["SyncCache", "TorchCompileModel"])
def test_a_compiled_model_reuses_and_agrees_with_eager(stage, first):
    """Whole-model compilation drops the guards on transformer_options; a traced hook could freeze its first decision."""
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    def compiled(model):
        # The node's own backend needs a C++ compiler and a path without spaces; tracing and guards are the same in this one.
        return TorchCompileModel.execute(model, "eager").args[0]

    schedule = (True, True, False, False) * 2
    eager, _, _ = stage.attach(schedule=schedule)
    want = stage.sample(eager, steps=8, cfg=1.0)
    if first == "SyncCache":
        model, run, _ = stage.attach(schedule=schedule)
        model = compiled(model)
    else:
        model, run, _ = stage.attach(compiled(stage.model), schedule=schedule)
    with torch.inference_mode():
        got = stage.sample(model, steps=8, cfg=1.0)
    assert [step.action for step in run.reports[-1].steps].count("reuse") == 3
    assert ((got - want).norm() / want.norm()).item() < 1e-4


def test_compiled_blocks_of_which_a_part_runs(sound):  # noqa: F811
    """The picture's half of a block is switched off by an option, on which compiled blocks keep no guard."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    def unguarded(entries):
        return ["transformer_options" not in entry.name for entry in entries]

    compiled = sound.model.clone()
    keys = [f"diffusion_model.transformer_blocks.{index}" for index in range(7)]
    set_torch_compile_wrapper(compiled, "eager", {"guard_filter_fn": unguarded}, keys=keys)
    runs = [sound.attach(model, schedule=(True, True, False, False) * 2) for model in (sound.model, compiled)]
    with torch.inference_mode():
        want, got = (sound.sample(model, steps=8) for model, _, _ in runs)
    assert runs[1][1].reports[0].reused == 3 and torch.equal(got, want)
