"""Speed against fidelity: SyncCache beside plain sampling with fewer steps and beside published caches, at equal cost.

`python -m bench.quality [--world tiny|wild] [--quick] [--settings NAME ...] [--clips N] [--seeds N] [--curves] [--fresh]
[--promises] [--json FILE] [--check]`.

Held-out clips of the Tiny or the Wild Talker, shift 8, each way against the uncached video of the same setting, clip and
noise. Cost is computed work in full steps by operation count, for this model and for Wan2.2-S2V-14B at 832x480x77; seconds
play no part. In the wild world regions, and masks of the human, follow the people of the uncached video.
Methods and their adaptations: `rivals.py`, `fit.py`; ComfyUI's EasyCache and LazyCache: `native.py`; presets, the
paper's settings and even reuse: `presets.py`. Plans, thresholds
and rivals' tables come from clips 100 to 105, that are not tested. Ablations, and costs at which nothing is required, are
measured with the first seed only.
Intervals: 95 %, bootstrap over clips, each the mean of its seeds; differences are paired.

Everything measured is kept in --folder and taken up again at the next start, film by film; --fresh forgets it.
One setting of 12 clips and 2 seeds takes about two hours on two cores at 40 steps, --quick a fraction of it. --promises
asks instead what plans promise and keep (`promises.py`), about an hour. Needs espeak-ng.
Evidence about the mechanism, never about a real model's quality.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from demo.console import say
from demo.find_host import find_host
from synccache_core import __version__
from synccache_core.decide.paper import SPEEDUP
from synccache_core.planning.planner import Planner

from . import native, promises, rows
from .fit import Fit, fit
from .harness import as_done, finish, on_all_cores, packed, parser, unpacked
from .presets import PAPER_SPEED, paper, without_calibration
from .rows import Ours, Row, floors, planned_sigmas
from .settings import JUDGED, SETTINGS, TESTED, Setting, add_kept, add_world, setting_in
from .tables import Results, demanded, tables

CLIPS, SEEDS, FEW = 12, 2, 2
DIGITS = 6  # of every figure that is kept
SEED_STEP = 1000  # the noise of a clip's k-th seed is that of number clip + 1000 k
FOLDER = Path.home() / ".cache" / "synccache" / "quality"


class Store:
    """What is known of one setting, as packed JSON lines: {"version", "clip", "seed", "found": {key: figures}}."""

    def __init__(self, file: Path, fresh: bool = False):
        self.file, self.films = file, {}
        if fresh:
            file.unlink(missing_ok=True)
        for line in unpacked(file).splitlines() if file.is_file() else ():
            entry = json.loads(line)
            if entry["version"] == __version__:
                self.films.setdefault((entry["clip"], entry["seed"]), {}).update(entry["found"])

    def add(self, clip: int, seed: int, found: dict[str, dict]) -> None:
        found = {key: {name: float(f"{value:.{DIGITS}g}") for name, value in way.items()} for key, way in found.items()}
        self.films.setdefault((clip, seed), {}).update(found)
        entry = {"version": __version__, "clip": clip, "seed": seed, "found": found}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as file:
            file.write(packed(json.dumps(entry, allow_nan=False) + "\n"))

    def missing(self, clip: int, seed: int, ways: Sequence[Row], often: Sequence[int]) -> list[Row]:
        """often: costs that are measured with every seed; the others, and ablations, with the first only."""
        known = self.films.get((clip, seed), {})
        return [row for row in ways if row.key not in known and (seed == 0 or row.often and row.count in often)]

    def chosen(self, films: Sequence[tuple[int, int]]) -> dict[tuple[int, int], dict[str, dict]]:
        return {film: self.films[film] for film in films if film in self.films}


def measure(store: Store, setting: Setting, films: Sequence[tuple[int, int]], ways: Sequence[Row], work: Callable) -> None:
    """Film what is missing, and keep it."""
    often = [setting.count(count) for count in demanded(setting.world)]
    jobs = [(setting, clip, clip + SEED_STEP * seed, found)
            for clip, seed in films if (found := store.missing(clip, seed, ways, often))]  # fmt: skip
    say(f"{setting.name}: {sum(len(job[3]) for job in jobs)} videos in {len(jobs)} films to make, {work.__module__}")
    for (_, clip, seed, _), found in as_done(work, jobs, setting.name):
        store.add(clip, (seed - clip) // SEED_STEP, found)


def rows_of(setting: Setting, made: Fit, counts: Sequence[int]) -> list[Row]:
    """All ways at one setting but ComfyUI's own. counts: of 40 steps."""
    planner = Planner(made.recording)
    rows = Ours(setting, planner, Planner(made.masked)).rows(counts)
    for asked in counts:
        count = setting.count(asked)
        for sampler in ("euler", "uni_pc"):
            stock = tuple(replace(setting, steps=count).sigmas)
            best = planned_sigmas(planner, count, *((0, False) if sampler == "euler" else made.unipc[asked]))
            for name, sigmas in (("stock", stock), ("planned", best)):
                label = f"no cache, fewer steps, {sampler}, {name} sigmas"
                rows.append(Row(label, "plain", count, sigmas=sigmas, sampler=sampler))
        rows += without_calibration(setting, asked, planner.recording.cost)
    if TESTED[0] in counts:
        cost = planner.recording.cost
        rows.append(paper(setting, SPEEDUP, setting.count(TESTED[0]), cost, PAPER_SPEED))
    rows += [Row(name, "rival", setting.count(asked), cache=make) for name, asked, make in made.rivals if asked in counts]
    return rows


def native_rows(setting: Setting, file: Path, counts: Sequence[int], fresh: bool) -> list[Row]:
    """ComfyUI's caches with their thresholds, which are kept in a file; none where there is no ComfyUI."""
    if find_host() is None:
        say(native.NO_HOST)
        return []
    if not file.is_file() or fresh:
        jobs = [(setting, name, setting.count(count)) for count, name in product(setting.counts, native.CACHES)]
        found = on_all_cores(native.fitted, jobs, f"{setting.name}: thresholds in ComfyUI")
        file.write_bytes(packed(json.dumps([[row.name, row.count, row.threshold] for row in found])))
    wanted = {setting.count(count) for count in counts}
    kept = json.loads(unpacked(file))
    floor = [native.FLOOR] if setting.sampler == "euler" else []  # ComfyUI's UniPC is not diffusers'
    return [Row(name, "native", n, threshold=value) for name, n, value in kept if n in wanted] + floor


def asked_for(ways: Sequence[Row], options: argparse.Namespace) -> list[Row]:
    return [row for row in ways if row.often or not options.curves]


def compare(setting: Setting, films: Sequence[tuple[int, int]], counts: Sequence[int], options) -> Results:
    """Everything at one setting. films: (clip, number of its seed)."""
    file = partial("{}/{}.{}".format, options.folder, setting.file)
    store = Store(Path(file("jsonl.gz")), options.fresh)
    ways = [*rows_of(setting, fit(setting, Path(file("fit.json.gz")), options.fresh), counts), *floors()]
    ways = asked_for(ways, options)
    measure(store, setting, films, ways, rows.film)
    hosted = asked_for(native_rows(setting, Path(file("native.json.gz")), counts, options.fresh), options)
    measure(store, setting, films, hosted, native.film)
    return Results(setting, [*ways, *hosted], store.chosen(films))


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("bench.quality", __doc__, f"{FEW} clips, one seed, the first setting, costs of {TESTED} steps of 40")
    made.add_argument("--settings", nargs="+", choices=list(SETTINGS), help="some of the settings (default: all of the tiny "
                      f"world; of the wild one {', '.join(JUDGED['wild'])})")
    add_world(made)
    made.add_argument("--clips", type=int, help=f"held-out clips (default: {CLIPS})")
    made.add_argument("--seeds", type=int, help=f"noises for each clip (default: {SEEDS})")
    made.add_argument("--curves", action="store_true", help="leave out SyncCache's ablations and the noise floor")
    made.add_argument("--promises", action="store_true", help="instead: what plans promise and keep")
    add_kept(made, FOLDER)
    found = made.parse_args(arguments)
    found.clips = found.clips or (FEW if found.quick else CLIPS)
    found.seeds = found.seeds or (1 if found.quick else SEEDS)
    found.settings = found.settings or JUDGED[found.world][: 1 if found.quick else None]
    return found


def report(options: argparse.Namespace) -> Iterator[tuple[dict[str, list[dict]], list[str]]]:
    films = [(clip, seed) for seed in range(options.seeds) for clip in range(options.clips)]
    for setting in (setting_in(options.world, label) for label in options.settings):
        if options.promises:
            yield promises.tables(setting, range(options.clips))
            continue
        yield tables(compare(setting, films, TESTED if options.quick else setting.counts, options))


def main(arguments: Sequence[str] | None = None) -> int:
    options, every, lacking = options_of(arguments), {}, []
    for shown, missed in report(options):
        every |= shown
        lacking += missed
    return finish(every, lacking, options)


if __name__ == "__main__":
    sys.exit(main())
