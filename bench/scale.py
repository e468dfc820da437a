"""Wan2.2-S2V-14B with random weights at true size: seconds and memory of plain, computed, reused and LIVE steps on a GPU.

`python -m bench.scale [--quick] [--seconds N] [--json FILE] [--check] [--size 832x480x77] [--blocks N] [--dim N]`. Runs
ComfyUI's class where ComfyUI is found, else diffsynth's, which takes the guidance branches one by one, under
`synccache_core.attach`. A step is an evaluation of both branches. The speed-up at 10 of 40 steps is that of eight
evaluations with two computed, which has the same ideal; a cache that is filled before has allocated the memory. At LIVE
steps a person in the middle, a sixth of the picture, goes through the blocks. Fewer blocks are built where memory asks for
it, and the rows say so. A row is printed, and the file written, as soon as it is measured, those first that tell most; what
would not be done before --seconds are over is left out, and says so.

Without a GPU nothing is measured: the tables are then the operation count, and the bytes of all tensors that ComfyUI's class
makes at true size, counted on tensors without data; about 4 minutes on two cores. `--device cpu
--toy` runs the code that measures on a model of a few megabytes, whose figures mean nothing beyond that it runs.

In the tables of bytes "extra" is what a cached run takes beside a plain one on the model's device. It is predicted as the
cache, where that rests there, else the residual that is being made, and two sketches of the probe. A memory budget bounds
the cache alone; "over_cache" says how far the extra memory goes beyond that. PyTorch rounds blocks of pinned host memory up
to powers of two: "host_rounded".
"""

import argparse
import gc
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from math import inf
from pathlib import Path
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear, scaled_dot_product_attention

from demo.console import say
from demo.find_host import find_host
from synccache_core import find

from .harness import parser, publish, shown, write
from .scale_model import HERE, HOST, PINNED, TOY, Shape, Size, Stand, build, fill, operations
from .scale_run import Bench, Clock, why

SIZES = (Size(832, 480, 77), Size(1280, 720, 77))
TOY_SIZE = Size(96, 96, 33)
RATIOS, QUICK_RATIOS = (1.0, 0.5, 0.25, 1 / 12), (1.0, 1 / 12)
IDEAL_SHARE, OFF_PERCENT, MEMORY_PERCENT = 0.95, 0.5, 2.0
CAVEAT = "Random weights: seconds and bytes only, nothing about quality."
NO_GPU = "No GPU was at hand: nothing here was measured. Operations and bytes are counted."
SMALL = "A toy on the CPU: the figures show that the code runs, and nothing about the real model."
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
}  # fmt: skip
REPEATS = 5
FP8 = torch.float8_e4m3fn


def options_of(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser("bench.scale", __doc__, "the first size, two cache ratios and two repeats only")
    made.add_argument("--size", type=Size.parse, action="append", help="width x height x frames; may be given again")
    made.add_argument("--seconds", type=float, default=inf, help="begin nothing that would take longer than this in all")
    made.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one; cpu needs --toy")
    made.add_argument("--toy", action="store_true", help="a tiny model instead of the one with 14 billion parameters")
    made.add_argument("--blocks", type=int, help="blocks of the model, default 40 or as many as fit")
    made.add_argument("--dim", type=int, help="width of the model, default 5120")
    options = made.parse_args(argv)
    options.ends = time.monotonic() + options.seconds
    if options.device == "cpu" and not options.toy:
        made.error("--device cpu needs --toy: the real size would take days")
    if options.device == "cuda" and not torch.cuda.is_available():
        made.error("no GPU that torch can use was found")
    if options.device is None and torch.cuda.is_available():
        options.device = "cuda"
    try:
        options.shape = (TOY if options.toy else Shape()).scaled(options.dim, options.blocks)
    except ValueError as error:
        made.error(str(error))
    sizes = options.size or ((TOY_SIZE,) if options.toy else SIZES)
    options.sizes = sizes[:1] if options.quick else sizes
    return options


def machine(device: str | None, source: str) -> dict:
    """In words. source: whose class the model is."""
    words = f"{os.cpu_count()} CPU cores"
    if device == "cuda":
        about = torch.cuda.get_device_properties(0)
        words += f", one {about.name} with {about.total_memory / 2**30:.0f} GiB"
    else:
        words += ", no GPU" * (not torch.cuda.is_available())
    return {"machine": words, "torch": torch.__version__.split("+")[0], "model": f"{source}, random weights"}


def shape_for(options: argparse.Namespace, size: Size) -> Shape:
    """As asked for, else as deep as the GPU's memory allows."""
    if options.device != "cuda" or options.blocks:
        return options.shape
    gc.collect()
    torch.cuda.empty_cache()
    return options.shape.fitted(size, torch.cuda.mem_get_info()[0])


def kernel_rows(shape: Shape, size: Size, device: str) -> Iterator[dict]:
    """What a block is made of, alone: a quicker one makes what SyncCache takes beside blocks weigh more. A note stands where
    PyTorch has no such kernel for the device.
    """
    tokens, like = size.tokens, {"dtype": shape.dtype, "device": device}
    heads = torch.randn(3, 1, shape.heads, tokens, shape.dim // shape.heads, **like)
    for name, backend in BACKENDS.items():
        yield kernel_row(f"attention, {name}", size, 4 * tokens**2 * shape.dim, device, partial(attend, backend, heads))
    x, weight, bias = (torch.randn(*of, **like) for of in ((tokens, shape.dim), (shape.ffn, shape.dim), (shape.ffn,)))
    usual = str(shape.dtype).removeprefix("torch.")
    for name, work in {usual: partial(linear, x, weight, bias), "fp8": partial(fp8_product, x, weight.to(FP8))}.items():
        yield kernel_row(f"feed-forward in, {name}", size, 2 * x.numel() * shape.ffn, device, work)


def kernel_row(name: str, size: Size, operations: int, device: str, work: Callable) -> dict:
    made, clock = {"kernel": name, "size": str(size)}, Clock(device)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # PyTorch says at length why it has no kernel
            work()
            seconds = min(clock.seconds(work) for _ in range(REPEATS))
    except (RuntimeError, NotImplementedError) as error:
        return made | {"note": why(error)}
    return made | {"milliseconds": 1000 * seconds, "tflops": operations / seconds / 1e12}


def attend(backend: SDPBackend, heads: torch.Tensor) -> torch.Tensor:
    with sdpa_kernel(backend):
        return scaled_dot_product_attention(*heads)


def fp8_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """In fp8, the making of fp8 from x included."""
    one = torch.ones((), device=x.device)
    return torch._scaled_mm(x.clamp(-448, 448).to(FP8), weight.t(), one, one, out_dtype=torch.bfloat16, use_fast_accum=True)


@contextmanager
def without_data() -> Iterator[None]:
    """Inside, tensors have shapes and devices but no data, as on a GPU with fused attention; none needs to be there."""
    with ExitStack() as stack:
        places = ["torch.nn.functional.scaled_dot_product_attention"]
        if find_host() is not None:
            from demo.training.modelling import open_host

            open_host(cpu=not torch.cuda.is_available())
            places.append("comfy.ops.scaled_dot_product_attention")
        for place in places:
            stack.enter_context(mock.patch(place, lambda query, *_, **__: torch.empty_like(query)))
        stack.enter_context(mock.patch("synccache_core.run.evaluation.wait_for", lambda device: None))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(torch.no_grad())
        yield


def in_order(benches: Sequence[Bench], places: Sequence[str], ratios: Sequence[float]) -> Iterator[tuple]:
    """(bench, place, ratio or None) of all rows, those first that tell most. A row of bytes also allocates what the row
    of seconds behind it needs."""
    for bench in benches:
        for place in places:
            yield bench, place, ratios[0]
            yield bench, place, None
    for bench in benches:
        yield from ((bench, place, ratio) for place in places for ratio in ratios[1:])


class Sheet:
    """Tables as they grow: every row is printed, and the file written anew, as soon as the row is there."""

    def __init__(self, file: Path | None, tables: dict[str, list[dict]]):
        self.file, self.tables = file, dict(tables)

    def add(self, table: str, row: dict) -> None:
        self.tables.setdefault(table, []).append(row)
        say("; ".join(f"{name} {shown(value)}" for name, value in row.items() if value is not None))
        if self.file:
            write(self.file, self.tables)


def measure(options: argparse.Namespace, sheet: Sheet) -> None:
    """Seconds and bytes on the device."""
    on_gpu, ratios = options.device == "cuda", QUICK_RATIOS if options.quick else RATIOS
    places, kind = ((HERE, PINNED), "measured") if on_gpu else ((HERE,), "counted")
    measured = f"measured{'' if on_gpu else ' on the CPU'}"
    seconds = f"seconds per step of two branches, {measured}"
    # They also let cuBLAS allocate what it keeps, which belongs to no row of bytes.
    for row in kernel_rows(options.shape, options.sizes[0], options.device):
        sheet.add(f"kernels of one block of one branch, {measured}", row)
    for size in options.sizes:
        shape = shape_for(options, size)
        model, source = build(shape, options.device)
        with torch.no_grad():
            fill(model)
            ways = (False, True) if source.startswith(HOST) else (False,)
            stands = [Stand(model, source, shape, size, options.device, batched) for batched in ways]
            benches = [Bench(stand, kind, 2 if options.quick else 5) for stand in stands]
            for bench, place, ratio in in_order(benches, places, ratios):
                table = seconds if ratio is None else f"bytes beside the weights, {kind}"
                sheet.add(table, bench.row(place, ratio, options.ends - time.monotonic()))
            del model, stands, benches, bench


def reckon(options: argparse.Namespace, sheet: Sheet) -> None:
    """Bytes, where there is no GPU."""
    ratios = QUICK_RATIOS if options.quick else RATIOS
    with without_data():
        model, source = build(options.shape, "cuda")
        stand = Stand(model, source, options.shape, options.sizes[0], "cuda", real=False)
        for size, batched in product(options.sizes, (False, True)) if stand.can_batch else ():
            bench = Bench(replace(stand, size=size, batched=batched), "counted")
            for place, ratio in product((HERE, PINNED), ratios):
                row = bench.row(place, ratio, options.ends - time.monotonic())
                sheet.add("bytes on a GPU beside the weights, counted on tensors without data", row)


def known(options: argparse.Namespace) -> dict[str, list[dict]]:
    """The tables that take no device: machine, operations."""
    with without_data():
        model, source = build(options.shape, "cuda")
        rows = [operations(options.shape, size, find(model).cost(model, size.grid, size.tokens)) for size in options.sizes]
    return {"machine": [machine(options.device, source)], "operations of one call of one branch, counted": rows}


def missed(tables: dict[str, list[dict]], on_gpu: bool, toy: bool = False) -> Iterator[str]:
    """A toy's sketches of the probe are as large as its residuals: it says nothing about what goes beyond a budget."""
    bounds = (("over_predicted_percent", "predicted"), *([] if toy else [("over_cache_percent", "the cache has, which a "
              "budget bounds")]))  # fmt: skip
    for row in (row for rows in tables.values() for row in rows if "guidance" in row):
        name = f"{row['size']}, {row['guidance']}, cache at {row['cache_at']}"
        if "note" in row:
            yield f"{name}: {row['note']}"
        for key, than in bounds:
            if (over := row.get(key) or 0.0) > MEMORY_PERCENT:
                yield f"{name}, ratio {row['cache_ratio']}: {over:.1f} % more bytes than {than}, allowed {MEMORY_PERCENT:g}"
        if on_gpu and row.get("measured_over_ideal", 1.0) < IDEAL_SHARE:
            yield f"{name}: speed-up is {row['measured_over_ideal']:.3f} of the ideal, required {IDEAL_SHARE}"
        if on_gpu and row.get("off_overhead_percent", 0.0) > OFF_PERCENT:
            yield f"{name}: {row['off_overhead_percent']:.2f} % overhead when off, allowed {OFF_PERCENT}"


def tell(tables: dict[str, list[dict]], remark: str, options: argparse.Namespace) -> int:
    """Print and write the tables, and what falls short of what could be looked at; the exit status."""
    publish(tables, remark or CAVEAT, options, {"remark": [{"remark": remark or CAVEAT}]})
    if not options.check:
        return 0
    lines = list(missed(tables, not remark, options.toy))
    for line in lines:
        say(f"missed: {line}")
    if remark:
        say("speed-up and overhead were not checked, which takes a GPU")
    elif not lines:
        say("every acceptance figure is met")
    return int(bool(lines))


def main(argv: Sequence[str] | None = None) -> int:
    options = options_of(argv)
    sheet = Sheet(options.json, known(options))
    (measure if options.device else reckon)(options, sheet)
    remark = "" if options.device == "cuda" and not options.toy else SMALL if options.device else NO_GPU
    if not options.device and find_host() is None:
        remark += " Without ComfyUI the bytes of a pass were not counted."
    return tell(sheet.tables, remark, options)


if __name__ == "__main__":
    sys.exit(main())
