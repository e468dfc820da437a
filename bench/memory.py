"""What the cache holds, predicted, reported and counted in bytes, and fifty runs in a row that leave nothing behind.

`python -m bench.memory [--quick] [--json FILE] [--check]`. On the CPU, the Tiny Talker on diffsynth and toy models of both
kinds. "predicted" comes from shapes alone, before a run; "reported" is `RunReport.bytes_held`; "counted" is the most that
the storages of all tensors reachable from the cache took after any evaluation, so that a view counts as all it keeps alive.
"beside" is what a session holds outside the cache between evaluations: two sketches of the probe, 128 channels wide at 14B,
which the prediction leaves out. About 5 minutes on two cores. Needs diffsynth, no ComfyUI.
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean, median
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

import torch

from demo.console import bar
from demo.talker import DIT_FILE, LATENT_FRAMES, SIZE, negative, positive
from demo.thirdparty import load_dit, velocity
from demo.toys import ToyDiT, toy_adapter
from synccache_core import Config, Grid, attach, find
from synccache_core.model.adapters import Adapter
from synccache_core.model.cost import cache_bytes
from synccache_core.reuse.residuals import wanted_groups

from .harness import finish, parser

OWN = (LATENT_FRAMES, SIZE // 8, SIZE // 8)
LATENTS = ((3, 8, 8), (5, 16, 12), OWN)
TOYS = ((96, 16), (1536, 48))  # tokens, width
RATIOS, ORDERS = (1.0, 0.5, 0.25, 0.0), (0, 1, 2)  # the last ratio: one residual
SCHEDULE = (True, True, True, False, False, True, False, True)
SIGMAS = tuple(1.0 - i / len(SCHEDULE) for i in range(len(SCHEDULE) + 1))
BUDGETS = (1.0, 0.6, 0.3, 0.1, 0.01)
RUNS, WARM_UP = 50, 5
SHARE = 0.02  # of bytes; and of resident memory, which malloc gives back late and in pieces: about 10 MiB here
NOT_OURS = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, torch.nn.Module)


class Cancelled(Exception):
    """As a user cancels a run."""


@dataclass(frozen=True)
class Subject:
    """A model and its inputs. evaluate(session, sigma) -> what a sampler is given. residual, output: bytes of one stored
    residual of all branches, of one output."""

    name: str
    size: str
    model: torch.nn.Module
    adapter: Adapter
    grid: Grid
    evaluate: Callable
    residual: int
    output: int

    def predicted(self, config: Config) -> int:
        groups = len(wanted_groups(config, self.adapter.layout(self.model)))
        order, correction = config.forecast_order, config.correction
        return cache_bytes(self.residual, self.output, config.level, groups, order, correction)


@dataclass(frozen=True)
class Held:
    """Bytes of one run: reported, predicted by the report afterwards, counted in the cache, counted beside it."""

    reported: int
    foretold: int
    counted: int
    beside: int
    groups: int
    order: int


def talker(latent: tuple[int, int, int], dit: torch.nn.Module, config: dict) -> Subject:
    """The Tiny Talker in fp32 at one latent size, its two branches one after the other."""
    noise, (frames, height, width) = torch.Generator().manual_seed(0), latent
    x = torch.randn(1, 16, *latent, generator=noise)
    sound = torch.randn(1, 25, config["audio_dim"], 4 * frames, generator=noise)
    reference, grid = torch.randn(1, 16, 1, height, width, generator=noise), Grid.from_latent(latent)

    def evaluate(session, sigma: float) -> torch.Tensor:
        with session.branch("cond"):
            yes = velocity(dit, x, sigma, positive(), sound, reference)
        with session.branch("uncond"):
            no = velocity(dit, x, sigma, negative(), sound * 0, reference)
        return no + 2 * (yes - no)

    residual, adapter = 2 * grid.tokens * config["dim"] * x.element_size(), find(dit)
    size = f"{frames}x{height}x{width} latent"
    return Subject("Tiny Talker, fp32", size, dit, adapter, grid, evaluate, residual, x.numel() * x.element_size())


def toy(kind: str, tokens: int, width: int, dtype: torch.dtype) -> Subject:
    """A toy with audio "after" or "inside" its blocks, both branches in one batch of two."""
    model, generator = ToyDiT(kind, width=width).to(dtype), torch.Generator().manual_seed(0)
    model.tokens = tokens
    x = torch.randn(2, tokens + 2, width, generator=generator).to(dtype)
    sound = torch.randn(2, width, generator=generator).to(dtype)

    def evaluate(session, sigma: float) -> torch.Tensor:
        with torch.no_grad(), session.branch("uncond", "cond"):
            no, yes = model(x + sigma, sigma, sound).chunk(2)
        return no + 2 * (yes - no)

    residual, name = 2 * tokens * width * x.element_size(), f"toy, audio {kind}, {str(dtype).removeprefix('torch.')}"
    adapter, grid = toy_adapter(kind), Grid(1, 1, tokens)
    return Subject(name, f"{tokens} tokens x {width}", model, adapter, grid, evaluate, residual, 4 * tokens * width)


def subjects(quick: bool) -> list[Subject]:
    dit, config = load_dit(DIT_FILE)
    kinds = (("after", torch.float32), ("inside", torch.bfloat16))
    toys = [toy(kind, *size, dtype) for (kind, dtype), size in product(kinds, TOYS)]
    return [*toys, *(talker(latent, dit, config) for latent in (LATENTS[:1] if quick else LATENTS))]


def settings() -> list[Config]:
    """Both levels, with and without correction, every order; at level "residual" every cache ratio."""
    shared = Config(schedule=SCHEDULE)
    residual = [replace(shared, cache_ratio=ratio) for ratio in RATIOS]
    output = replace(shared, level="output")
    return [
        replace(config, forecast_order=order, correction=correction)
        for config, correction, order in product([*residual, output], (False, True), ORDERS)
    ]


def in_memory(tensor: torch.Tensor) -> dict[int, int]:
    """{address: bytes} of the storage of `tensor`; {} if none: sparse, or left behind by torch.compile's tracing."""
    try:
        storage = tensor.untyped_storage()
        return {} if storage.device.type == "meta" else {storage.data_ptr(): storage.nbytes()}
    except (RuntimeError, ValueError):  # no storage, or one without an address, or not yet
        return {}


def storages(*roots: object) -> dict[int, int]:
    """{address: bytes} of the storages of all tensors that can be reached from `roots`, not by way of code or models."""
    found, seen, queue = {}, set(), list(roots)
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, NOT_OURS):
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            found.update(in_memory(thing))
        else:
            queue.extend(gc.get_referents(thing))
    return found


def run(subject: Subject, config: Config, cancel_at: int | None = None) -> Held:
    """One run by way of `attach`; the most that was held after any evaluation."""
    counted = beside = 0
    with attach(subject.model, config, SIGMAS, subject.grid, adapter=subject.adapter) as session:
        for index, sigma in enumerate(SIGMAS[:-1]):
            if index == cancel_at:
                raise Cancelled
            session.predict(sigma, lambda at=sigma: subject.evaluate(session, at))
            cache = storages(session.residuals, session.outputs)
            counted = max(counted, sum(cache.values()))
            beside = max(beside, sum(size for at, size in storages(session).items() if at not in cache))
        report = session.report
    return Held(report.bytes_held, report.bytes_predicted, counted, beside, report.groups, report.order)


def off_percent(predicted: int, held: Held) -> float:
    """The worst of what was reported, foretold in the report, and counted, against the prediction."""
    return 100 * max(abs(value / predicted - 1) for value in (held.reported, held.foretold, held.counted))


def sweep(subject: Subject) -> Iterator[dict]:
    for config in settings():
        held, predicted = run(subject, config), subject.predicted(config)
        yield {
            "model": subject.name, "size": subject.size, "level": config.level,
            "correction": "yes" if config.correction else "no", "order": config.forecast_order,
            "cache_ratio": config.cache_ratio if config.level == "residual" else None, "residuals": held.groups,
            "predicted_bytes": predicted, "reported_bytes": held.reported, "counted_bytes": held.counted,
            "beside_bytes": held.beside, "off_percent": round(off_percent(predicted, held), 3),
        }  # fmt: skip


def summed_up(rows: Sequence[dict]) -> list[dict]:
    """One line per model, size, level and correction."""
    keys, groups = ("model", "size", "level", "correction"), {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        dict(zip(keys, key)) | {
            "runs": len(same), "least_predicted_bytes": min(row["predicted_bytes"] for row in same),
            "most_predicted_bytes": max(row["predicted_bytes"] for row in same),
            "most_beside_bytes": max(row["beside_bytes"] for row in same),
            "most_off_percent": max(row["off_percent"] for row in same),
        }
        for key, same in groups.items()
    ]  # fmt: skip


def budgets(subject: Subject) -> Iterator[dict]:
    """Less and less memory than order 1 with every residual wants."""
    wanted = Config(schedule=SCHEDULE)
    for share in BUDGETS:
        budget = int(share * subject.predicted(wanted))
        held = run(subject, replace(wanted, memory_budget=budget))
        yield {
            "model": subject.name, "size": subject.size, "budget_bytes": budget, "residuals": held.groups,
            "order": held.order, "foretold_bytes": held.foretold, "reported_bytes": held.reported,
            "counted_bytes": held.counted,
        }  # fmt: skip


def alive() -> tuple[int, int]:
    """(tensors, bytes of their storages) that Python still knows of, anywhere in this process."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    return len(tensors), sum(storages(*tensors).values())


def resident() -> int | None:
    """Bytes of this process in memory; None where the system does not say so in /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else None


def one_after_the_other(subject: Subject, runs: int) -> dict:
    """Runs of five kinds in turn, one of them cancelled, and what is alive after each."""
    plain = Config(schedule=SCHEDULE)
    kinds = (
        (plain, None), (replace(plain, level="output", correction=True, forecast_order=2), None), (plain, 4),
        (replace(plain, cache_ratio=0.25, correction=True), None), (Config(target_speedup=1.0), None),
    )  # fmt: skip
    seen, held = [], []
    for index in bar(range(WARM_UP + runs), subject.name, "run"):
        config, cancel_at = kinds[index % len(kinds)]
        try:
            held.append(run(subject, config, cancel_at).counted)
        except Cancelled:
            pass
        if index >= WARM_UP:
            seen.append((*alive(), resident()))
    tensors, sizes, pages = zip(*seen)
    part = max(1, runs // 5)
    row = {
        "model": subject.name, "size": subject.size, "runs": runs, "mean_cache_bytes": round(mean(held)),
        "tensors_first": tensors[0], "tensors_last": tensors[-1], "tensors_most": max(tensors),
        "alive_bytes_first": sizes[0], "alive_bytes_last": sizes[-1],
    }  # fmt: skip
    if pages[0] is not None:
        first, last = median(pages[:part]) / 2**20, median(pages[-part:]) / 2**20
        row |= {"resident_mib_first": round(first, 1), "resident_mib_last": round(last, 1),
                "resident_growth_percent": round(100 * (last / first - 1), 2)}  # fmt: skip
    return row


def missed(swept: Sequence[dict], limited: Sequence[dict], lasting: Sequence[dict]) -> Iterator[str]:
    for row in swept:
        if row["off_percent"] > 100 * SHARE:
            kind = f"{row['level']}, order {row['order']}, ratio {row['cache_ratio']}, correction {row['correction']}"
            yield f"{row['model']}, {row['size']}, {kind}: {row['off_percent']:.1f} % off what was predicted"
    for row in limited:
        most = max(row["reported_bytes"], row["counted_bytes"])
        if most > row["budget_bytes"] * (1 + SHARE):
            yield f"{row['model']}, {row['size']}: {most} bytes, the budget was {row['budget_bytes']}"
    for row in lasting:
        grown = row.get("resident_growth_percent", 0.0)
        if row["tensors_most"] > row["tensors_first"] or row["alive_bytes_last"] > row["alive_bytes_first"]:
            yield f"{row['model']}: {row['tensors_first']} tensors alive after one run, {row['tensors_most']} at the most"
        if grown > 100 * SHARE:
            yield f"{row['model']}: resident memory grew by {grown} % in {row['runs']} runs, allowed {SHARE:.0%}"


def main(argv: Sequence[str] | None = None) -> int:
    quick = "the Tiny Talker at one size instead of three, and 10 runs in a row instead of 50"
    options = parser("bench.memory", __doc__, quick).parse_args(argv)
    torch.set_num_threads(1)
    made = subjects(options.quick)
    largest = [made[len(TOYS) - 1], made[2 * len(TOYS) - 1], made[-1]]
    swept = [row for subject in bar(made, "sweep", "size") for row in sweep(subject)]
    limited = [row for subject in largest for row in budgets(subject)]
    lasting = [one_after_the_other(subject, 10 if options.quick else RUNS) for subject in largest]
    own = [row for row in swept if (row["model"], row["size"]) == (made[-1].name, made[-1].size)]
    tables = {
        "every size": summed_up(swept), "the largest Tiny Talker, every setting": own,
        "with a byte budget": limited, "one run after the other": lasting,
    }  # fmt: skip
    return finish(tables, missed(swept, limited, lasting), options)


if __name__ == "__main__":
    sys.exit(main())
