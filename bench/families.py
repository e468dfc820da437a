"""Every family that is served, at true size: what a reused step costs, the speed-up by operations, the memory of residuals.

`python -m bench.families [--family NAME ...] [--quick] [--json FILE] [--check]`. ComfyUI's own class without weights
(PyTorch's "meta" device), with the tokens that stand beside the video in the stock workflow. The cost formula is held
against PyTorch's operation counter, which follows one forward pass of that class; --quick leaves this out, --check asks for
3 %. "reused step": its share of a computed one, with every residual kept. "10 of 40": speed-up where so many steps are
computed. GiB: residuals of both branches of guidance in bfloat16, two anchors of each, at either cache ratio. Nothing is
timed. About 10 s a family. Needs ComfyUI.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from demo.console import bar, say
from demo.find_host import find_host
from synccache_core import Bound, Config, CostModel, Pass, find
from synccache_core.model.cost import cache_bytes
from synccache_core.model.overrides import override
from synccache_core.reuse.depths import depth_bytes
from synccache_core.reuse.residuals import wanted_groups
from synccache_core.units import GIB

from .families_at_true_size import FAMILIES, Absent, Family
from .harness import finish, parser

STEPS = ((10, 40), (8, 20))  # computed, of how many
RATIOS = (1.0, 0.4)
TOLERANCE = 0.03
TEXT = 512
CAVEAT = "Operations and bytes, counted: nothing was timed, and no weights were loaded."
NO_HOST = "nothing could be counted: no ComfyUI found (COMFYUI_PATH)"


@dataclass(frozen=True)
class Sized:
    """A family's model at true size, ready to be called. options: its transformer_options. tokens: of the first block's
    hidden state."""

    family: Family
    model: torch.nn.Module
    args: tuple
    kwargs: dict
    options: dict
    tokens: int
    cost: CostModel

    @property
    def layout(self):
        return self.cost.layout

    def bytes_at(self, ratio: float) -> int:
        adapter, video = find(self.model, self.options), video_of(self.args)
        one = 2 * adapter.grid(video).tokens * adapter.width(self.model) * 2
        groups = wanted_groups(Config(cache_ratio=ratio), self.layout)
        inside = depth_bytes(self.layout, groups, one // 2, 2) if Bound(adapter, self.model).runs_beside else 0
        return inside + cache_bytes(one, 0, "residual", len(groups), Config().forecast_order, 0)


def video_of(args: Sequence):
    """The first of several latents is the video."""
    return args[0][0] if isinstance(args[0], (list, tuple)) else args[0]


def sized(family: Family) -> Sized:
    """Raises Absent where this ComfyUI does not have the class."""
    model, options = family.make(), family.options()
    args, kwargs = family.given(model, TEXT)
    adapter = find(model, options)
    grid = adapter.grid(video_of(args))
    view = adapter.view(Pass(model, grid, getattr(model, "_forward", model.forward), args, kwargs), 0)
    tokens = view.front + view.count + (view.behind or 0)
    return Sized(family, model, args, kwargs, options, tokens, adapter.cost(model, grid, tokens, TEXT))


def counted(of: Sized) -> float:
    """FLOPs of one forward pass, by PyTorch's counter."""
    with plain_attention(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        of.model(*of.args, transformer_options=of.options, **of.kwargs)
    return float(counter.get_total_flops())


@contextmanager
def plain_attention():
    """Attention of matrix products, wherever the host's models have it: the counter does not see into others."""
    from comfy.ldm.modules.attention import attention_basic

    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("comfy.ldm.") and "optimized_attention" in vars(module):
                override(stack, module, "optimized_attention", attention_basic)
        yield


def row(of: Sized, with_counter: bool) -> dict:
    cost, layout = of.cost, of.layout
    made = {
        "model": of.family.title, "size": of.family.size, "tokens": of.tokens, "blocks": layout.blocks,
        "refreshes": layout.refreshes, "TFLOP": cost.full / 1e12, "reused step": cost.reuse_share,
    }  # fmt: skip
    made |= {f"{n} of {steps}": cost.speedup(steps, n) for n, steps in STEPS}
    made |= {f"GiB at {ratio:g}": of.bytes_at(ratio) / GIB for ratio in RATIOS}
    if with_counter:
        made["formula / counter"] = cost.full / counted(of)
    return made


def missed(rows: Sequence[dict]) -> list[str]:
    name = "formula / counter"
    return [f"{row['model']}: {name} is {row[name]:.3f}" for row in rows if abs(row.get(name, 1) - 1) > TOLERANCE]


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser("bench.families", __doc__, "formulas only, without the counter")
    made.add_argument("--family", action="append", choices=[family.name for family in FAMILIES], help="only this one")
    options: argparse.Namespace = made.parse_args(arguments)
    folder = find_host()
    if folder is None:
        say(NO_HOST)
        return int(options.check)
    importlib.import_module("demo.comfy_host").open_host(folder)
    rows: list[dict] = []
    for family in bar([f for f in FAMILIES if f.name in (options.family or [f.name])], "families"):
        try:
            rows.append(row(sized(family), not options.quick))
        except Absent as reason:
            rows.append({"model": family.title, "size": str(reason)})
    return finish({"families at true size": rows}, missed(rows), options, CAVEAT)


if __name__ == "__main__":
    sys.exit(main())
