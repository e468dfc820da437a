"""docs/RESULTS.md and its pictures from what the benches wrote with --json: `python -m bench.results [--check]`.

The page's sentences are written by hand; the table between `<!-- ways -->` and `<!-- / -->` is written by this, from
docs/results/*.json. --check writes nothing, and exits with 1 where the page says something else than the files.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from demo.console import say

from .settings import Setting

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, FOLDER = DOCS / "RESULTS.md", DOCS / "results"
BLOCK = re.compile(r"(<!-- ways -->\n).*?(<!-- / -->)", re.DOTALL)
REGIONS = ("whole_db", "human_db", "mouth_db")
SPEED = 4
COLUMNS = (Setting(), Setting(20, 4.5, "uni_pc"), Setting(20, 6.0, "uni_pc"), Setting(20, 6.0, "uni_pc", "wild"))
SLOWER = ((COLUMNS[-1], 2), (COLUMNS[-1], 3))  # columns behind those, at other speeds
DRAWN = COLUMNS[2:]  # one for each world
WORLD = {"tiny": "quiet", "wild": "wild"}
OWN = {  # ways of bench.online, the better of order 0 and 1 -> what the page calls them, colour, dash
    "preset": ("preset", "#c2185b", "-"),
    "preset at 14B's prices": ("preset as on 14B", "#ec7fa9", "-"),
    "plan": ("plan from two other clips", "#6a1b9a", "-"),
    "plain, same sampler at the preset's sigmas": ("no cache, the preset's steps alone", "#616161", "-"),
    "plain, same sampler": ("no cache, fewer steps", "#9e9e9e", ":"),
    "even, outputs": ("reuse of outputs, steps even in index", "#795548", ":"),
    "even in sigma, outputs": ("reuse of outputs, steps even in sigma", "#ef6c00", ":"),
    "EasyCache": ("EasyCache, formula", "#1565c0", "--"),
    "paper preset": ("preset *Paper*", "#b39ddb", "--"),
}  # fmt: skip
CURVES = ("preset", "plain, same sampler at the preset's sigmas", "plain, same sampler", "even, outputs",
          "even in sigma, outputs", "EasyCache")  # fmt: skip
RIVALS = ("DiCache", "MagCache", "TeaCache-like", "TaylorSeer-Lite", "fixed interval (FORA-like)", "EasyCache of ComfyUI",
          "LazyCache of ComfyUI")  # of bench.parts


@lru_cache(maxsize=None)
def tables(name: str) -> dict[str, list[dict]]:
    """What a bench wrote: {title: rows}; nothing where there is no such file."""
    file = FOLDER / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def online(setting: Setting, way: str) -> dict[int, dict]:
    """Speed -> the row of a way of bench.online; of several orders the one with the higher PSNR of whole frames."""
    found, files = {}, FOLDER.glob(f"online-{setting.world}*.json")
    for row in (row for file in files for row in tables(file.stem).get(setting.name, ())):
        if row["way"].partition(", order")[0] == way:
            found[row["speed"]] = max(row, found.get(row["speed"], row), key=lambda each: each["whole_db"])
    return found


def rivals(setting: Setting, way: str) -> dict[int, dict]:
    """Speed -> the row of a way of `bench.parts --rivals`."""
    files = FOLDER.glob(f"rivals-{setting.world}*.json")
    rows = (row for file in files for row in tables(file.stem).get(f"{setting.name}: every way", ()))
    return {row["speed"]: row for row in rows if row["way"] == way}


def cell(row: dict | None) -> str:
    return "" if row is None else " / ".join(f"{row[region]:.1f}" for region in REGIONS)


def lines() -> Iterator[Sequence[str]]:
    """The table's lines of texts."""
    heads = [f"{WORLD[each.world]}: {each.steps}, {each.guidance:g}, {each.sampler}" for each in COLUMNS]
    yield ["way", *heads, *(f"{WORLD[each.world]}, {speed}×" for each, speed in SLOWER)]
    yield ["---", *["---:"] * (len(COLUMNS) + len(SLOWER))]
    places = [*((setting, SPEED) for setting in COLUMNS), *SLOWER]
    for found, ways in ((online, {way: name for way, (name, *_) in OWN.items()}), (rivals, dict(zip(RIVALS, RIVALS)))):
        for way, name in ways.items():
            yield [name, *(cell(found(setting, way).get(speed)) for setting, speed in places)]


def filled(page: str) -> str:
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines())
    return BLOCK.sub(lambda found: found[1] + table + found[2], page)


def draw(setting: Setting, file: Path) -> None:
    """PSNR of the human over counted speed-up at the prices of this small model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    for way in CURVES:
        name, colour, dash = OWN[way]
        rows = sorted((setting.steps / row["here"], row["human_db"]) for row in online(setting, way).values())
        axis.plot(*zip(*rows) if rows else ((), ()), dash, color=colour, marker="o", markersize=3, label=name,
                  linewidth=2.5 if way == "preset" else 1.3)  # fmt: skip
    axis.set(xlabel="speed-up by operation count", ylabel="PSNR to the uncached video, human, dB")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(prog="python -m bench.results", description=__doc__.splitlines()[0])
    made.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page is out of date")
    options, page = made.parse_args(arguments), PAGE.read_text(encoding="utf-8")
    found = filled(page)
    if options.check:
        say("RESULTS.md and docs/results agree" if found == page else "RESULTS.md does not say what docs/results says")
        return int(found != page)
    PAGE.write_text(found, encoding="utf-8")
    for setting in DRAWN:
        draw(setting, DOCS / f"results-{setting.world}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
