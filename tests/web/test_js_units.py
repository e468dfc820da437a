"""The pure functions of web/js, in Node.js: the cases are in units.mjs."""

import json
import shutil
import subprocess
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from synccache_core.compare.findings import Findings, Mouths
from synccache_core.compare.likeness import Likeness
from synccache_core.config import Config
from synccache_core.decide.policy import MIN_COMPUTED, fixed_schedule, least_left, level_for, warmup_steps
from synccache_core.model.cost import CostModel, cache_bytes
from synccache_core.model.layout import Layout, groups_for_ratio
from synccache_core.model.samplers import Sampler
from synccache_core.report.report import RunReport, StepRecord
from synccache_core.sentences import say, told
from synccache_core.units import readable
from tests.conftest import ROOT

# What the editor serves beside an extension, as far as loading one needs it.
STUBS = {
    "app.js": "export const app = { extensions: [], registerExtension(extension) { app.extensions.push(extension) } }\n",
    "api.js": "export const api = new EventTarget()\n",
}


@pytest.fixture
def served(tmp_path):
    """A folder as the browser sees it: /scripts of the editor, /extensions/<pack>/js, and the cases."""
    shutil.copytree(ROOT / "web" / "js", tmp_path / "extensions" / "pack" / "js")
    (tmp_path / "scripts").mkdir()
    for name, text in STUBS.items():
        (tmp_path / "scripts" / name).write_text(text)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(ROOT / "tests" / "web" / "units.mjs", tmp_path)
    (tmp_path / "cases.json").write_text(json.dumps(cases()))
    shown = {"run": told_run().live(2), "report": told_run().lines(), "compare": told_findings().lines()}
    told_lines = {name: [told(line) for line in lines] for name, lines in shown.items() if name != "run"}
    (tmp_path / "told.json").write_text(json.dumps(shown | told_lines))
    return tmp_path


def told_run() -> RunReport:
    """Of two steps, at which nothing was reused."""
    reasons = [say("warm-up"), say("last step")]
    steps = [StepRecord(i, 1.0, "compute", reason, None, 0.0, None, 1.0) for i, reason in enumerate(reasons)]
    live = say("no step is live: {speed}× leaves nothing beside the computed ones", speed="4")
    settings = {"target_speedup": 4.0}
    return RunReport("toy", 7, 4, settings, steps=steps, notes=[live, "its own words"], finished=True)


def told_findings() -> Findings:
    """Of two frames, with another noise and a sound that the mouths follow, the accelerated one a frame late."""
    likeness, curve = Likeness(40.0, 0.9, np.full(9, 40.0), 1, 1.0), np.clip(np.sin(np.arange(9) * 1.3), 0, 1)
    floor, late = replace(likeness, psnr=25.0), np.roll(curve, 1)
    mouths = Mouths(say("MediaPipe's face landmarks"), curve, late, curve, curve)
    return Findings(9, 96, 64, 16.0, {"whole": likeness, "mouth": likeness}, {"whole": floor, "mouth": floor}, 0.001, mouths)


def cases() -> list[dict]:
    """Wishes at sizes, with what the core makes of them: the editor predicts by the same arithmetic."""
    made = []
    layouts = [Layout(40, (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39)), Layout(10, (0, 2, 4, 6, 8, 9)), Layout(3, (0,)),
               Layout(12, (0, 3, 7), "beside")]
    wishes = product(layouts, (4, 8, 20, 40), (1.5, 2.0, 3.3, 5.0), (0.05, 0.5, 1.0), (0, 2), (0, 3 << 20),
                     (80, 5000, 1 << 20))  # fmt: skip
    for layout, steps, target, ratio, order, limit, residual in wishes:
        cost = CostModel(10.0, 1.0, 3.0, layout)
        computed, groups = max(MIN_COMPUTED, cost.computed_steps(steps, target)), groups_for_ratio(layout, ratio)
        output, corrected = residual // 80, order // 2  # with correction at order 2
        held = cache_bytes(residual, output, "residual", groups, order, corrected)
        beside = cache_bytes(0, output, "residual", 0, order, corrected)
        held = min(held, limit + beside) if limit else held  # outputs beside residuals are no part of it
        size = {"expected": steps, "share": cost.reuse_share, "storable": layout.storable(), "blocks": layout.blocks,
                "refreshes": len(layout.refresh), "residual_bytes": residual, "correction_bytes": beside,
                "level": "residual", "fresh_share": cost.reuse_share, "output_bytes": output,
                "least_left": least_left(layout), "outputs_corrected": corrected}  # fmt: skip
        wish = {"target": target, "ratio": ratio, "order": order, "limit": limit, "reuse": "residual"}
        core = {"level": "residual", "computed": computed, "steps": steps, "speedup": cost.speedup(steps, computed),
                "bytes": held, "here": False}  # fmt: skip
        made.append({"size": size, "wish": wish, "core": core, "readable": readable(held)})
        made += [elsewhere(size, wish, cost), *warmed(size, wish, core, cost)]
    return made


def warmed(size: dict, wish: dict, core: dict, cost: CostModel) -> list[dict]:
    """The same with a warm-up: 2 and 9 steps of a fixed schedule, and what the probe's steps have by themselves."""
    steps, computed, made = size["expected"], core["computed"], []
    sigmas = [1 - step / steps for step in range(steps + 1)]
    for warmup, probing in ((2, False), (9, False), (-1, True), (9, True)):
        config = Config(warmup=None if warmup < 0 else warmup, choose="probe" if probing else "schedule")
        first = warmup_steps(config, steps, computed)
        taken = sum(step < first or at for step, at in enumerate(fixed_schedule(config, sigmas, computed, True)))
        told = core | {"computed": taken, "speedup": cost.speedup(steps, taken)}
        more = wish | {"warmup": warmup, "probing": probing}
        made.append({"size": size, "wish": more, "core": told, "readable": readable(core["bytes"])})
    return made


def elsewhere(size: dict, wish: dict, cost: CostModel) -> dict:
    """The same where auto chooses the level, which need not be that of the last run."""
    steps, order = size["expected"], wish["order"]
    level = level_for(Config(target_speedup=wish["target"], level="auto"), cost, steps, Sampler()).level
    computed = max(MIN_COMPUTED, cost.computed_steps(steps, wish["target"], cost.share(level, 0, "refresh", True)))
    groups = groups_for_ratio(cost.layout, wish["ratio"])
    held = cache_bytes(size["residual_bytes"], size["output_bytes"], level, groups, order, size["outputs_corrected"])
    beside = size["correction_bytes"] if level == "residual" else 0
    held = min(held, wish["limit"] + beside) if wish["limit"] else held
    speedup = cost.speedup(steps, computed, cost.share(level, 0, "refresh", True))
    core = {"level": level, "computed": computed, "steps": steps, "speedup": speedup, "bytes": held, "here": False}
    return {"size": size, "wish": {**wish, "reuse": "auto"}, "core": core, "readable": readable(held)}


@pytest.mark.node
def test_units(served):
    command = ["node", "--test", "--test-reporter=spec", "units.mjs"]
    done = subprocess.run(command, cwd=served, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
