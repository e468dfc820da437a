"""A running ComfyUI server: the shipped workflow, sent as an artist's browser would, saves two videos and a report."""

import json
import re

import pytest

from tests.conftest import ROOT
from tests.host.running import launched, run
from tests.host.workflow import LENGTH, to_api

pytestmark = [pytest.mark.host, pytest.mark.slow]


@pytest.fixture(scope="module")
def prompt(server):
    workflow = json.loads((ROOT / "workflows" / "tiny_talker.json").read_text())
    return to_api(workflow, server.get("/object_info"))


@pytest.mark.once  # a second ComfyUI runs a shorter one, in test_workflows.py
def test_the_workflow_saves_both_videos_and_reports(server, prompt):
    outputs = run(server, prompt)["outputs"]
    text = outputs["6"]["text"][0]
    assert "blocks, 6 audio refreshes" in text
    counts = next(line for line in text.splitlines() if line.startswith("40 steps"))
    _, computed, reused, _ = (int(word) for word in re.findall(r"\d+", counts))  # steps, computed, reused, budget
    assert computed + reused == 40 and reused >= 25
    shown = [outputs[key]["images"][0] for key, node in prompt.items() if node["class_type"] == "SaveVideo"]
    names = {video["filename"].rpartition("_0")[0] for video in shown}
    assert {"tiny_talker_plain", "tiny_talker_synccache"} <= names
    files = [server.base / "output" / video["subfolder"] / video["filename"] for video in shown]
    assert all(path.stat().st_size > 5_000 for path in files)


def test_a_second_seed_runs_afresh_with_the_patcher_cached(server, prompt):
    """Only the sampler's seed changes: ComfyUI serves the SyncCache node from its execution cache."""
    kept = {key: json.loads(json.dumps(prompt[key])) for key in ("1", "2", "3", "5", "6")}
    kept["2"]["inputs"]["length"] = LENGTH
    del kept["6"]["inputs"]["image"]
    for seed in (8, 9):
        kept["5"]["inputs"] |= {"seed": seed, "steps": 8}
        entry = run(server, kept)
    cached = next(m[1]["nodes"] for m in entry["status"]["messages"] if m[0] == "execution_cached")
    assert "3" in cached
    text = entry["outputs"]["6"]["text"][0]
    assert "8 steps" in text and "sampler 2" not in text


def test_the_nodes_are_listed_with_help_and_template(server):
    info = server.get("/object_info")
    ours = {name for name in info if name.startswith("SyncCache")}
    assert ours == {
        "SyncCache", "SyncCacheHumanMask", "SyncCacheCalibrate", "SyncCacheScheduleOptimizer", "SyncCacheSavePlan",
        "SyncCacheLoadPlan", "SyncCacheReport", "SyncCacheCompare", "SyncCacheTinyTalker",
        "SyncCacheAvatarLoader", "SyncCacheAvatarAudioEncoder", "SyncCacheAvatarTextEncode", "SyncCacheAvatarConditioning",
        "SyncCacheAvatarGuider",
    }  # fmt: skip
    for name in ours:
        declared = info[name]["input"]
        inputs = {**declared.get("required", {}), **declared.get("optional", {})}
        assert [key for key, spec in inputs.items() if not spec[1].get("tooltip")] == []
    shipped = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    templates = server.get("/workflow_templates")
    assert {pack: sorted(found) for pack, found in templates.items()} == {"ComfyUI SyncCache": shipped}


def test_a_report_is_of_the_latent_that_the_host_kept(tmp_path):
    """--cache-lru: 12 steps, then 10, then back to 12, which no sampler runs for; the report does run."""
    with launched(tmp_path, options=("--cache-lru", "50")) as server:
        whole = to_api(json.loads((ROOT / "workflows" / "tiny_talker.json").read_text()), server.get("/object_info"))
        kept = {key: whole[key] for key in ("1", "2", "3", "5", "6")}
        texts, cached = [], []
        for steps, image in ((12, ["1", 5]), (10, ["1", 5]), (12, None)):
            prompt = json.loads(json.dumps(kept))
            prompt["5"]["inputs"]["steps"] = steps
            prompt["2"]["inputs"]["length"] = LENGTH
            if image is None:
                del prompt["6"]["inputs"]["image"]
            entry = run(server, prompt)
            texts.append(entry["outputs"]["6"]["text"][0])
            cached.append(next(m[1]["nodes"] for m in entry["status"]["messages"] if m[0] == "execution_cached"))
        assert "5" in cached[2] and "6" not in cached[2] and "5" not in cached[1]
        assert [re.search(r"^(\d+) steps", text, re.M).group(1) for text in texts] == ["12", "10", "12"]
        assert "note: the latent" not in texts[2]


@pytest.mark.once  # there, test_workflows.py compares them
def test_the_two_videos_are_compared_in_a_graph(server, prompt):
    """Decoders of the shipped workflow feed the Compare node, its sound and run beside them."""
    graph = json.loads(json.dumps(prompt))
    for node in ("4", "5"):
        graph[node]["inputs"]["steps"] = 8
    graph["2"]["inputs"]["length"] = 17
    inputs = {"plain": ["7", 0], "accelerated": ["11", 0], "run": ["3", 1], "audio": ["1", 6]}
    graph["80"] = {"class_type": "SyncCacheCompare", "inputs": inputs}
    shown = run(server, graph)["outputs"]["80"]
    assert "17 frames of 96×96" in shown["text"][0] and "with the sound's loudness: plain 0." in shown["text"][0]
    assert len(shown["images"]) == 3 and all((server.base / "temp" / each["filename"]).is_file() for each in shown["images"])
