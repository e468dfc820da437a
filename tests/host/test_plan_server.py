"""Acceptance of plans in a running ComfyUI: calibrate, plan, save; restart; load, sample."""

import json

import pytest

from synccache_core.planning.__main__ import main
from synccache_core.planning.recording import Recording
from tests.host.running import REMEMBERS, launched, run
from tests.host.workflow import node, stem

pytestmark = [pytest.mark.host, pytest.mark.once, pytest.mark.slow]
STEPS = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("comfy plans")


def calibration(server, seed: int) -> dict:
    prompt = stem(server, STEPS)
    prompt["50"] = node(server, "SyncCacheCalibrate", model=["1", 0], save_as="round trip")
    prompt["4"]["inputs"] |= {"model": ["50", 0], "seed": seed}
    prompt["51"] = node(server, "SyncCacheScheduleOptimizer", run=["50", 1], samples=["4", 0], target_speedup=3.0)
    prompt["52"] = node(server, "SyncCacheSavePlan", plan_json=["51", 0], name="round trip")
    return prompt


def planned(server, name: str, seed: int) -> dict:
    prompt = stem(server, STEPS)
    prompt["60"] = node(server, "SyncCacheLoadPlan", plan=name)
    prompt["61"] = node(server, "SyncCache", model=["1", 0], plan_json=["60", 0])
    prompt["4"]["inputs"] |= {"model": ["61", 0], "seed": seed}
    prompt["62"] = node(server, "SyncCacheReport", run=["61", 1], samples=["4", 0])
    return prompt


def executed(entry: dict) -> set[str]:
    cached = next(m[1]["nodes"] for m in entry["status"]["messages"] if m[0] == "execution_cached")
    return {"4", "50", "51", "52"} - set(cached)


def test_calibrate_optimise_save_restart_load_sample(base, capsys):
    with launched(base, options=REMEMBERS) as server:
        first = run(server, calibration(server, 7))
        assert "computed" in first["outputs"]["51"]["text"][0]
        assert executed(run(server, calibration(server, 7))) <= {"52"}  # nothing changed: nothing is sampled again
        assert "51" in executed(run(server, calibration(server, 8)))  # a new calibration is planned anew
    saved = sorted(path.name for path in (base / "models" / "synccache_plans").glob("*.json"))
    assert saved and saved[0] == "round trip.json"
    plan = json.loads((base / "models" / "synccache_plans" / saved[0]).read_text())
    assert plan["schedule"][0] == 0 and len(plan["schedule"]) < STEPS / 2
    assert plan["measured"] is None or plan["measured"]["error"] < 0.1
    calibrations = base / "models" / "synccache_calibrations"
    assert len(Recording.from_json((calibrations / "round trip.json").read_text()).replays) == 4
    assert main([str(calibrations / "round trip.json"), "--speedup", "3"]) == 0
    assert f"plan: {len(plan['schedule'])} of {STEPS} steps computed" in capsys.readouterr().out
    with launched(base) as server:
        choices = server.get("/object_info/SyncCacheLoadPlan")["SyncCacheLoadPlan"]["input"]["required"]["plan"]
        listed = choices[1].get("options") or choices[0]
        name = next(entry for entry in listed if entry.startswith("round trip"))
        for seed in (7, 8):
            text = run(server, planned(server, name, seed))["outputs"]["62"]["text"][0]
            assert f"{len(plan['schedule'])} computed" in text
