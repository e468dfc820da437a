"""A ComfyUI server with this pack as its only custom node, in a folder with a space."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from demo.find_host import find_host
from tests.conftest import ROOT
from tests.web.browser import editor

SPACED = "ComfyUI SyncCache"  # the pack below custom_nodes
# Else ComfyUI drops what it has made once memory is short, as it may be beside another worker's tests.
REMEMBERS = ("--cache-classic",)
PATIENCE_S = 1200  # a busy machine takes ten times as long as an idle one
LOOPS = ROOT / "tests" / "host" / "loops"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def furnished(base, stand_in: str, *files) -> Path:
    """This pack, a node of the source `stand_in` and input files below ComfyUI's base folder; where its models belong."""
    folders = {name: base / name for name in ("custom_nodes", "input", "models/diffusion_models")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    (folders["custom_nodes"] / "stand_in.py").write_text(stand_in)
    (folders["custom_nodes"] / SPACED).symlink_to(ROOT)
    for file in files:
        (folders["input"] / file.name).write_bytes(file.read_bytes())
    return folders["models/diffusion_models"]


@contextmanager
def launched(base, folder=SPACED, options=(), loops=False):
    """get(path), post(path, data), base, url of a ComfyUI whose own folders lie in `base`; started again, it finds them.

    options: more of its command line. loops: with stand-ins for Start Loop and End Loop, unless it has them.
    """
    nodes = base / "custom_nodes" / folder
    if not nodes.exists():
        nodes.parent.mkdir()
        nodes.symlink_to(ROOT)
    if loops and not (find_host() / "comfy_extras" / "nodes_loop.py").is_file():
        (nodes.parent / LOOPS.name).symlink_to(LOOPS)
    port = free_port()
    host = find_host()
    command = [
        sys.executable, str(host / "main.py"), "--cpu", "--base-directory", str(base), "--disable-api-nodes",
        "--database-url", "sqlite:///:memory:", "--port", str(port), "--listen", "127.0.0.1",
    ]  # fmt: skip
    if (root := editor(host)[0]) is not None:
        command += ["--front-end-root", str(root)]
    command += options  # of two the last counts
    log = (base / "server.log").open("w")
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def get(path):
        assert process.poll() is None, (base / "server.log").read_text()[-3000:]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(path, data):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", json.dumps(data).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    try:
        wait_for(lambda: get("/system_stats"))
        yield SimpleNamespace(get=get, post=post, base=base, url=f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


@contextmanager
def served_by(base: Path, folder=SPACED, options=()):
    """The same with loops and the files that the templates load: portrait.png, speech.wav."""
    shutil.copytree(ROOT / "demo" / "assets", base / "input")
    with launched(base, folder, options, loops=True) as running:
        yield running


def wait_for(question):
    """The first answer that is not None; a server that is not up yet refuses the connection."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            answer = question()
            if answer is not None:
                return answer
        except urllib.error.HTTPError:
            raise
        except OSError:  # refused, or, on a busy machine, not answered in time
            pass
        time.sleep(0.3)
    raise TimeoutError(f"no answer within {PATIENCE_S} s")


def run(server, prompt) -> dict:
    """The history entry of a prompt that ended well."""
    return finished(server, server.post("/prompt", {"prompt": prompt})["prompt_id"])


def finished(server, prompt_id: str) -> dict:
    """The same of a prompt that was queued."""
    entry = wait_for(lambda: server.get(f"/history/{prompt_id}").get(prompt_id))
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    return entry
