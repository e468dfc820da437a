"""What the benches share: held-out scenes, work on all cores, tables, intervals, --json, --quick, --check."""

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from demo.console import bar, say
from demo.scene import Scene
from demo.wild.held_out import Performance
from demo.worlds import WORLDS

CAVEAT = "Small models, rendered clips: evidence about the mechanism, never about a real model's quality."
MOST_DB = 100.0  # of equal videos
CONFIDENCE, RESAMPLES = 0.95, 10_000


def held_out_scene(number: int, world: str = "tiny") -> Scene | Performance:
    """A portrait and a stretch of speech that training never saw. Needs espeak-ng."""
    return WORLDS[world].scene(number)


def on_all_cores(work: Callable, jobs: Sequence, label: str) -> list:
    """[work(job)], each process on one thread; work and jobs travel by pickle."""
    return [result for _, result in as_done(work, jobs, label)]


def as_done(work: Callable, jobs: Sequence, label: str) -> Iterator[tuple]:
    """(job, work(job)) one after the other, as soon as it and those before it are done."""
    if jobs:
        with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, len(jobs))) as pool:
            yield from zip(jobs, bar(pool.imap(work, jobs), label, "clip", total=len(jobs)))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % percentile bootstrap interval over clips of paired differences."""
    data = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(0).integers(0, len(data), (RESAMPLES, len(data)))
    low, high = np.quantile(data[picks].mean(1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(data.mean()), float(low), float(high)


def parser(name: str, doc: str, quick: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"python -m {name}", description=doc.splitlines()[0])
    made.add_argument("--json", type=Path, help="also write the rows to this file")
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--check", action="store_true", help="exit with 1, and say why, where an acceptance figure is missed")
    return made


def show(rows: Sequence[dict]) -> None:
    """Rows as a table, columns in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    texts = [[shown(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in texts)) + 2 for i, name in enumerate(columns)]
    for line in (columns, *texts):
        say("".join(text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in enumerate(zip(line, widths))))


def shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):  # an interval
        return "{:.4g} ({:.4g} to {:.4g})".format(*value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def publish(tables: dict[str, list[dict]], caveat: str, options: argparse.Namespace, also: dict | None = None) -> None:
    """Print the tables and the caveat, and write the tables. also: what only the file is given."""
    for title, rows in tables.items():
        say(f"\n{title}")
        show(rows)
    say(f"\n{caveat}")
    if options.json:
        write(options.json, tables | (also or {}))


def write(file: Path, tables: dict[str, list[dict]]) -> None:
    """As JSON, a row a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = (",\n".join(json.dumps(row, allow_nan=False) for row in rows) for rows in tables.values())
    text = ",\n".join(f"{json.dumps(title)}: [\n{rows}\n]" for title, rows in zip(tables, made))
    file.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def finish(tables: dict[str, list[dict]], missed: Iterable[str], options: argparse.Namespace, caveat: str = CAVEAT) -> int:
    """Print the tables, write them, and say what falls short; the exit status."""
    publish(tables, caveat, options)
    lines = list(missed) if options.check else []
    for line in lines:
        say(f"missed: {line}")
    if options.check and not lines:
        say("every acceptance figure is met")
    return int(bool(lines))
