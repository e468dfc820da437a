"""Online mode on the Tiny Talker: how far a cached run is from the uncached one, by warm-up, forecast order and its bound.

`python -m bench.online [--quick] [--json FILE]`. Needs no ComfyUI. PSNR of the final latents to those of the uncached run of
the same seed, in dB, relative to the latents' own variance; 40 Euler steps, shift 8, guidance 2. These numbers are evidence
about the mechanism, never about a real model's quality.
"""

import argparse
import json
import math
from pathlib import Path

from demo.console import say
from demo.scene import Settings, read_scene
from demo.standalone import Standalone
from demo.talker import PORTRAIT_FILE, SPEECH_FILE
from synccache_core import Config

STEPS = 40


def rows(budgets: tuple[int, int]) -> list[tuple[str, dict]]:
    """(name, Config fields)."""
    table = []
    for order in (0, 1, 2):
        table += [(f"target {t:g}, order {order}", {"target_speedup": t, "forecast_order": order}) for t in (2.0, 3.0)]
    table += [(f"target 3, order {o}, gain not bounded", {"forecast_order": o, "max_gain": 1e9}) for o in (1, 2)]
    table += [(f"target 3, order 1, warm-up {w}", {"warmup": w}) for w in (2, 4, 6)]
    for count in budgets:
        table.append((f"evenly spread steps, {count}", {"schedule": evenly(count)}))
        table.append((f"evenly spread steps, {count}, order 0", {"schedule": evenly(count), "forecast_order": 0}))
    return table


def evenly(count: int) -> tuple[bool, ...]:
    chosen = {round(i * (STEPS - 1) / (count - 1)) for i in range(count)}
    return tuple(i in chosen for i in range(STEPS))


def distance_db(latents, plain) -> float:
    error = (latents - plain).square().mean().item()
    return 10 * math.log10(plain.var().item() / error) if error else math.inf


def measure(seeds: range) -> list[dict]:
    scene = read_scene(SPEECH_FILE, PORTRAIT_FILE)
    stages = [Standalone(scene, Settings(steps=STEPS, seed=seed)) for seed in seeds]
    plain = [stage.sample(label=f"plain, seed {stage.settings.seed}").latents for stage in stages]
    found = []
    for name, fields in rows((8, 16)):
        takes = [stage.sample(Config(**fields), label=name) for stage in stages]
        mean = sum(distance_db(take.latents, reference) for take, reference in zip(takes, plain)) / len(takes)
        found.append({"setting": name, "computed_steps": takes[0].report.computed, "psnr_db": round(mean, 2)})
    return found


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.online", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--quick", action="store_true", help="one seed instead of four")
    options = parser.parse_args(argv)
    found = measure(range(1 if options.quick else 4))
    say(f"{'setting':44}{'computed steps':>16}{'PSNR dB':>10}")
    for row in found:
        say(f"{row['setting']:44}{row['computed_steps']:>16}{row['psnr_db']:>10.1f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
