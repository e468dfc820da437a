"""A running ComfyUI server: the shipped workflow, sent as an artist's browser would, saves two videos and a report."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from demo.find_host import find_host
from tests.conftest import ROOT
from tests.host.workflow import to_api

pytestmark = [pytest.mark.host, pytest.mark.slow]
PATIENCE_S = 300


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """get(path), post(path, data) of a ComfyUI whose only custom node is this pack, in a folder with a space."""
    base = tmp_path_factory.mktemp("comfy base")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "ComfyUI SyncCache").symlink_to(ROOT)
    port = free_port()
    command = [
        sys.executable, str(find_host() / "main.py"), "--cpu", "--base-directory", str(base), "--disable-api-nodes",
        "--database-url", "sqlite:///:memory:", "--port", str(port), "--listen", "127.0.0.1",
    ]  # fmt: skip
    log = (base / "server.log").open("w")
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(path, data):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", json.dumps(data).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def alive():
        assert process.poll() is None, (base / "server.log").read_text()[-3000:]
        return get("/system_stats")

    try:
        wait_for(alive)
        yield SimpleNamespace(get=get, post=post, base=base)
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def wait_for(question):
    """The first answer that is not None; a server that is not up yet refuses the connection."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            answer = question()
            if answer is not None:
                return answer
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.3)
    raise TimeoutError(f"no answer within {PATIENCE_S} s")


def run(server, prompt) -> dict:
    """The history entry of a prompt that ended well."""
    prompt_id = server.post("/prompt", {"prompt": prompt})["prompt_id"]
    entry = wait_for(lambda: server.get(f"/history/{prompt_id}").get(prompt_id))
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    return entry


@pytest.fixture(scope="module")
def prompt(server):
    workflow = json.loads((ROOT / "workflows" / "tiny_talker.json").read_text())
    return to_api(workflow, server.get("/object_info"))


def test_the_workflow_saves_both_videos_and_reports(server, prompt):
    outputs = run(server, prompt)["outputs"]
    text = outputs["6"]["text"][0]
    assert "blocks, 6 audio refreshes" in text
    counts = next(line for line in text.splitlines() if line.startswith("40 steps"))
    _, computed, reused, _ = (int(word) for word in re.findall(r"\d+", counts))  # steps, computed, reused, budget
    assert computed + reused == 40 and reused >= 25
    saved = sorted(path.name for path in (server.base / "output" / "video").glob("*.mp4"))
    assert len(saved) == 2 and saved[0].startswith("tiny_talker_plain") and saved[1].startswith("tiny_talker_synccache")
    assert all((server.base / "output" / "video" / name).stat().st_size > 5_000 for name in saved)


def test_a_second_seed_runs_afresh_with_the_patcher_cached(server, prompt):
    """Only the sampler's seed changes: ComfyUI serves the SyncCache node from its execution cache."""
    again = json.loads(json.dumps(prompt))
    for node in ("4", "5"):
        again[node]["inputs"] |= {"seed": 8, "steps": 20}
    entry = run(server, again)
    cached = next(m[1]["nodes"] for m in entry["status"]["messages"] if m[0] == "execution_cached")
    assert "3" in cached
    text = entry["outputs"]["6"]["text"][0]
    assert "20 steps" in text and "sampler 2" not in text


def test_the_nodes_are_listed_with_help_and_template(server):
    info = server.get("/object_info")
    ours = {name for name in info if name.startswith("SyncCache")}
    assert ours == {"SyncCache", "SyncCacheReport", "SyncCacheTinyTalker"}
    for name in ours:
        declared = info[name]["input"]
        inputs = {**declared.get("required", {}), **declared.get("optional", {})}
        assert [key for key, spec in inputs.items() if not spec[1].get("tooltip")] == []
    templates = server.get("/workflow_templates")
    assert templates == {"ComfyUI SyncCache": ["tiny_talker"]}
