"""A short table of what tools/on_gpu.sh left in a folder, and one JSON file of its figures. Standard library only.

`python tools/gpu_table.py FOLDER` reads scale.json and on_gpu.log, prints the table and writes on_gpu.json, which holds all
rows of scale.json. The exit status is 1 where seconds or a training are missing.
"""
import argparse
import json
import re
import sys
from pathlib import Path

STEP = re.compile(r"\] dit step (\d+) loss ([\d.]+) ([\d.]+) steps/s")
NOISES = re.compile(r"two noises: whole ([\d.]+) dB")
MOUTHS = re.compile(r"mouth r rendered, noise 1, 2: (\S+), (\S+), (\S+)")
FAILED = re.compile(r"\] (\w+) FAILED")


def say(text=""):
    sys.stdout.write(text + "\n")


def training(log):
    """Figures of a training from what it printed; {} where there was none."""
    steps, mouths = STEP.findall(log), [[float(value) for value in found] for found in MOUTHS.findall(log)]
    if not steps:
        return {}
    made = {"steps": int(steps[-1][0]), "loss_at_first": float(steps[0][1]), "loss_at_last": float(steps[-1][1]),
            "steps_per_second": float(steps[-1][2]), "failed": FAILED.findall(log)}
    if noises := NOISES.search(log):
        made["two_noises_db"] = float(noises[1])
    clips = [row for row in mouths if not any(value != value for value in row)]
    if clips:
        made["mouth_correlation"] = sum(row[1] + row[2] for row in clips) / len(clips) / 2
        made["mouth_correlation_of_renderer"] = sum(row[0] for row in clips) / len(clips)
    return made


def place(row):
    return f"{row['size']}, {row['blocks']} blocks, {row['guidance']}, {row['cache_at']}"


def line(row):
    """A row of bench.scale in words."""
    name = row["kernel"] if "kernel" in row else place(row)
    if "note" in row:
        return f"{name}: {row['note']}"
    if "kernel" in row:
        return f"{name}: {row['milliseconds']:.2f} ms, {row['tflops']:.0f} TFLOP/s"
    if "plain_seconds" in row:
        live = f", LIVE {row['live_seconds']:.3f} s (counted {row['live_counted']:.2f} of a computed one, measured "\
               f"{row['live_over_computed']:.2f})" if "live_seconds" in row else ""
        return (f"{name}: plain {row['plain_seconds']:.3f} s, computed {row['computed_seconds']:.3f} s, reused "
                f"{row['reused_seconds']:.3f} s{live}; 10 of 40: {row['measured_speedup']:.2f} times, "
                f"{100 * row['measured_over_ideal']:.1f} % of the ideal; off {row['off_overhead_percent']:+.2f} %")
    extra, peak = (next(row[f"{name}_{kind}_gib"] for kind in ("measured", "counted") if f"{name}_{kind}_gib" in row)
                   for name in ("extra", "peak"))
    return (f"{name}, ratio {row['cache_ratio']:g}: extra {extra:.3f} GiB, predicted {row['extra_predicted_gib']:.3f} "
            f"({row['over_predicted_percent']:+.1f} %); peak {peak:.2f} GiB")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what tools/on_gpu.sh left")
    return table(parser.parse_args(argv).folder)


def table(folder):
    """Print the table and write on_gpu.json; 1 where seconds or a training are missing, else 0."""
    tables = {}
    if (folder / "scale.json").exists():
        tables = json.loads((folder / "scale.json").read_text(encoding="utf-8"))
    trained = training((folder / "on_gpu.log").read_text(encoding="utf-8", errors="replace"))
    (folder / "on_gpu.json").write_text(json.dumps(tables | {"training": [trained]}, indent=1) + "\n", encoding="utf-8")
    (folder / "scale.json").unlink(missing_ok=True)
    rows = [row for rows in tables.values() for row in rows if "guidance" in row or "kernel" in row]
    rows.sort(key=lambda row: ("plain_seconds" not in row, "kernel" in row))
    say("\nIn short")
    for row in tables.get("machine", []):
        say("; ".join(row.values()))
    for row in rows:
        say(line(row))
    say("training: " + "; ".join(f"{name} {value}" for name, value in trained.items()) if trained else "training: none")
    return int(not trained or bool(trained["failed"]) or not any("plain_seconds" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
