"""docs/RESULTS.md and its pictures from what the benches wrote with --json: `python -m bench.results [--check]`.

The page's sentences are written by hand; what stands between `<!-- name -->` and `<!-- / -->` is written by this. Tables
come from docs/results/*.json. --check writes nothing, and exits with 1 where the page says something else than the files.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from demo.console import say

from .settings import JUDGED, SETTINGS, TESTED, Setting, setting_in

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, FOLDER = DOCS / "RESULTS.md", DOCS / "results"
BLOCK = re.compile(r"(<!-- (?P<name>[^/>][^>]*?) -->\n).*?(<!-- / -->)", re.DOTALL)
EVERY = [*SETTINGS.values(), *(setting_in("wild", label) for label in JUDGED["wild"])]
Column = str | Callable[[dict], object]


@lru_cache(maxsize=None)
def tables(name: str) -> dict[str, list[dict]]:
    """What a bench wrote: {title: rows}."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def rows(name: str, title: str) -> list[dict]:
    """The table whose title, after the setting's name, starts with `title`. Raises KeyError where there is none."""
    for each, found in tables(name).items():
        if each.removeprefix(f"{name}: ").startswith(title):
            return found
    raise KeyError(f"{name}.json has no table {title!r}, it has {', '.join(tables(name))}")


def markdown(made: Sequence[dict], columns: dict[str, Column]) -> str:
    """columns: heading -> key of a row, or what makes its text. The first is set left, the others right."""
    lines = [[written(row.get(c) if isinstance(c, str) else c(row)) for c in columns.values()] for row in made]
    marks = ["---", *["---:"] * (len(columns) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in ([*columns], marks, *lines))


def written(value: object) -> str:
    """At most four digits; nothing for what is not there."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")


def digits_of(value: float, digits: int) -> str:
    """Without the minus of a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def spread(key: str, digits: int = 1) -> Callable[[dict], str]:
    """Mean and, where there is one, 95 % interval, as `tables.bounds` names them."""
    stem, _, unit = key.rpartition("_")
    names = (key, f"{stem}_low_{unit}", f"{stem}_high_{unit}")

    def text(row: dict) -> str:
        found = [digits_of(row[name], digits) for name in names if row.get(name) is not None]
        return f"{found[0]} ({' to '.join(found[1:])})" if found[1:] else "".join(found)

    return text


def number(key: str, digits: int) -> Callable[[dict], str | None]:
    return lambda row: None if row.get(key) is None else digits_of(row[key], digits)


PARTS = {
    "part": "part", "at equal": "equal", "cost in steps": "at_cost_of_steps", "with": "way", "without": "against",
    "gain, human, dB": spread("gain_human_db", 2), "gain, mouth, dB": spread("gain_mouth_db", 2),
    "gain, mouth correlation": spread("gain_mouth_correlation", 4), "verdict": "verdict",
}  # fmt: skip
AHEAD = {
    "cost in steps": "at_cost_of_steps", "read as": "reading", "region": "region", "planned, dB": spread("plan_db"),
    "best that is not ours": "best_other", "its cost": number("other_cost", 1), "dB": spread("other_db"),
    "ahead, dB": spread("ahead_db"), "asked for, dB": number("required_db", 0),
}  # fmt: skip
WAYS = {
    "way": "way", "steps": number("computed_steps", 1), "cost here": number("cost_full_steps", 1),
    "cost 14B": number("cost_full_steps_14b", 1), "whole, dB": spread("whole_db"), "human, dB": spread("human_db"),
    "mouth": number("mouth_db", 1), "background": number("background_db", 1), "mask edge": number("mask_edge_db", 1),
    "worst frame, human": number("worst_frame_human_db", 1), "VMAF": number("vmaf", 1),
    "mouth corr.": number("mouth_correlation", 3),
}  # fmt: skip
OTHERS = {
    "way": "way", "SSIM whole": number("whole_ssim", 4), "human": number("human_ssim", 4), "mouth": number("mouth_ssim", 4),
    "background": number("background_ssim", 4), "mask edge": number("mask_edge_ssim", 4),
    "mouth late by, frames": number("mouth_lag_frames", 2), "flicker, % of white": number("flicker_percent", 3),
    "background flicker, × plain": number("background_flicker_ratio", 3),
}  # fmt: skip
BYTES = {
    "size": "size", "branches": "guidance", "cache at": "cache_at", "ratio": number("cache_ratio", 2),
    "residuals": "residuals", "cache, GiB": number("cache_gib", 2), "extra predicted": number("extra_predicted_gib", 2),
    "extra counted": number("extra_counted_gib", 2), "over the cache, %": number("over_cache_percent", 1),
    "peak with weights": number("peak_counted_gib", 1), "in pinned memory": number("host_counted_gib", 2),
    "as PyTorch rounds it": number("host_rounded_gib", 0),
}  # fmt: skip

GLANCE = {
    "steps, guidance, sampler": "setting", "cost in steps": "cost", "videos": "films",
    "planned, human, dB": number("human_db", 1), "mouth corr., change": number("mouth_change", 3),
    "ahead on this model, whole, dB": "whole_here", "human, dB": "human_here", "of": "best_here",
    "ahead on 14B, whole, dB": "whole_14b", "human, dB ": "human_14b", "of ": "best_14b", "asked for, dB": "asked",
}  # fmt: skip


def at_cost(name: str, title: str, count: int) -> list[dict]:
    """The ways of one cost, the best first."""
    best = {row["way"]: row["human_db"] for row in rows(name, "every way") if row["at_cost_of_steps"] == count}
    found = [row for row in rows(name, title) if row["at_cost_of_steps"] == count]
    return sorted(found, key=lambda row: -best[row["way"]])


def compared(setting: Setting) -> Iterator[tuple[str, Callable[[], str]]]:
    """The blocks of one setting of bench.quality."""
    name = setting.name
    yield f"{name} parts", lambda: markdown(rows(name, "what the parts"), PARTS)
    yield f"{name} ahead", lambda: markdown(rows(name, "the plan against"), AHEAD)
    for count in {setting.count(asked) for asked in TESTED}:
        yield f"{name} every way at {count}", lambda count=count: markdown(at_cost(name, "every way", count), WAYS)
        yield f"{name} other figures at {count}", lambda count=count: markdown(at_cost(name, "other figures", count), OTHERS)
    yield f"{name} floor", lambda: markdown(rows(name, "noise floor"), WAYS)


def at_a_glance() -> list[dict]:
    """The plan at every cost of every setting that was measured, beside the best other at equal cost."""
    found = []
    for setting in (each for each in EVERY if (FOLDER / f"{each.name}.json").is_file()):
        ways = {(row["way"], row["at_cost_of_steps"]): row for row in rows(setting.name, "every way")}
        compared_to = [row for row in rows(setting.name, "the plan against") if row.get("way", "planned") == "planned"]
        beside = {(row["at_cost_of_steps"], row["reading"], row["region"]): row for row in compared_to}
        uncached = rows(setting.name, "the uncached videos")[0]["mouth_correlation"]
        for count in dict.fromkeys(cost for cost, _, _ in beside):
            wild = ", wild" * (setting.world == "wild")
            line = dict(setting=f"{setting.steps}, {setting.guidance:g}, {setting.sampler}{wild}", cost=count)
            line |= {key: ways["planned", count][key] for key in ("films", "human_db")}
            line["mouth_change"] = ways["planned", count]["mouth_correlation"] - uncached
            for model, reading in (("here", "equal cost on this model"), ("14b", "equal cost on 14B")):
                for region in ("whole", "human"):
                    row = beside[count, reading, f"{region}_db"]
                    line[f"{region}_{model}"] = spread("ahead_db")(row)
                line[f"best_{model}"] = row["best_other"]
            found.append(line | {"asked": row["required_db"]})
    return found


def whole(name: str, title: str) -> str:
    """A table as it is, with the columns' own names."""
    found = rows(name, title)
    return markdown(found, {key.replace("_", " "): key for row in found for key in row})


BLOCKS = {name: make for setting in EVERY for name, make in compared(setting)}
BLOCKS["settings"] = lambda: markdown(at_a_glance(), GLANCE)
BLOCKS["scale bytes"] = lambda: markdown(rows("scale", "bytes"), BYTES)


def block(name: str) -> str:
    """The text of a block: one of BLOCKS, or "file: title" for a table as it is. Raises KeyError for a name of neither."""
    if name in BLOCKS:
        return BLOCKS[name]()
    file, _, title = name.partition(": ")
    return whole(file, title)


def filled(page: str) -> str:
    return BLOCK.sub(lambda found: found[1] + block(found["name"]) + found[3], page)


SHOWN = {  # way -> colour, dash
    "planned": ("#c2185b", "-"), "planned, residuals": ("#ec7fa9", "-"), "online": ("#8e5ea2", "-"),
    "preset": ("#6a1b9a", "-"), "paper preset": ("#b39ddb", "-"), "even, outputs, order 1": ("#795548", ":"),
    "no cache, fewer steps, euler, stock sigmas": ("#9e9e9e", ":"),
    "no cache, fewer steps, uni_pc, stock sigmas": ("#616161", ":"),
    "no cache, fewer steps, euler, planned sigmas": ("#9e9e9e", "-"),
    "no cache, fewer steps, uni_pc, planned sigmas": ("#616161", "-"),
    "fixed interval (FORA-like)": ("#8d6e63", "--"), "TeaCache-like": ("#f9a825", "--"), "MagCache": ("#ef6c00", "--"),
    "DiCache": ("#2e7d32", "--"), "TaylorSeer-Lite": ("#00897b", "--"), "EasyCache formula": ("#1565c0", "--"),
    "LeMiCa-like path": ("#5c6bc0", "--"), "EasyCache of ComfyUI": ("#1e88e5", "-."),
    "LazyCache of ComfyUI": ("#64b5f6", "-."),
}  # fmt: skip
COSTS = {"cost_full_steps": "this model", "cost_full_steps_14b": "Wan2.2-S2V-14B, 832×480×77"}


def draw(setting: Setting, file: Path) -> None:
    """Human PSNR over speed-up by operation count, once for this model and once for 14B."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = rows(setting.name, "every way")
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
    for axis, (key, model) in zip(axes, COSTS.items()):
        for way, (colour, dash) in SHOWN.items():
            mine = sorted((setting.steps / row[key], row["human_db"]) for row in found if row["way"] == way)
            axis.plot(*zip(*mine) if mine else ((), ()), dash, color=colour, marker="o", markersize=3, label=way,
                      linewidth=2.5 if way == "planned" else 1.3)  # fmt: skip
        axis.set_xlabel(f"speed-up by operation count, {model}")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("PSNR to the uncached video, human, dB")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
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
    for setting in EVERY:
        picture = f"results-{setting.name}.png"
        if f"({picture})" in found:
            draw(setting, DOCS / picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
