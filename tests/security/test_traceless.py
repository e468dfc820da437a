"""ultralytics: absent it is an error with a way out, old it is refused unseen, present it leaves no trace."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import ROOT

# Runs in a process of its own, where nothing has imported ultralytics: everything that could change is compared.
PROBE = """
import json, logging, os, socket, sys, warnings
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import cv2, numpy, torch
calls = []
def refuse(*arguments, **_):
    calls.append(repr(arguments))
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
started = ("subprocess.Popen", "os.system", "os.posix_spawn")
sys.addaudithook(lambda event, _: calls.append(event) if event in started else None)
from tests.security.conftest import load_alone
module = load_alone()
lazy = "ultralytics" not in sys.modules
if sys.argv[3] == "second":
    import ultralytics
    ultralytics.utils.SETTINGS
cv2.setNumThreads(2); torch.set_num_threads(2); numpy.set_printoptions(linewidth=91); torch.set_printoptions(linewidth=92)
def facts():
    logs = [logging.getLogger(name) for name in (None, "ultralytics")]
    return {
        "environment": dict(os.environ), "save": id(torch.save), "load": id(torch.load),
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "torch": torch._tensor_str.get_printoptions(),
        "numpy": repr(numpy.get_printoptions()), "warnings": repr(warnings.filters), "cv2": cv2.getNumThreads(),
        "imread": id(cv2.imread),
        "safe": repr(sorted(map(repr, torch.serialization.get_safe_globals()))),
        "logs": [[repr(log.handlers), log.level, log.propagate] for log in logs],
        "random": torch.get_rng_state().tolist(),
        "rest": [torch.backends.cudnn.benchmark, torch.is_grad_enabled(), str(torch.get_default_dtype())],
    }
folder = Path(sys.argv[2])
before = facts()
finder = module.build(folder / "random.safetensors", "person", torch.device("cpu"), folder / "scratch")
found = finder.find(torch.rand(2, 40, 56, 3, generator=torch.Generator().manual_seed(0)), 0.01)
after = facts()
print(json.dumps({"lazy": lazy, "calls": calls, "shapes": [list(f.masks.shape) for f in found], "boxes": finder.boxes,
                  "changed": [key for key in before if before[key] != after[key]]}))
"""


@pytest.fixture
def random_model(tmp_path):
    """A small YOLO-seg of random weights, made by ultralytics in another process."""
    code = (
        "import sys, torch, ultralytics; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from ultralytics.nn.tasks import SegmentationModel\n"
        "from demo.detector import architecture\n"
        "from synccache_core.human.detector_file import Detector, checked_architecture, save\n"
        "found = checked_architecture(architecture(), 1)\n"
        "model = SegmentationModel(dict(found), nc=1, verbose=False)\n"
        "save(Detector('segment', ('person',), 64, found, model.state_dict()), Path(sys.argv[2]) / 'random.safetensors')\n"
    )
    run([code, str(ROOT), str(tmp_path)], tmp_path)
    return tmp_path


def run(arguments, home):
    environment = {**os.environ, "HOME": str(home), "YOLO_OFFLINE": "true", "OMP_NUM_THREADS": "1"}
    if "second" not in arguments:
        environment.pop("YOLO_OFFLINE")
    environment.pop("XDG_CONFIG_HOME", None)
    done = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.detector
@pytest.mark.slow
@pytest.mark.parametrize("order", ["first", "second"])
def test_importing_and_predicting_leave_no_trace(random_model, tmp_path, order):
    home = tmp_path / "home"
    home.mkdir()
    told = json.loads(run([PROBE, str(ROOT), str(tmp_path), order], home).splitlines()[-1])
    assert told["lazy"], "the pack imports ultralytics before it is asked to"
    assert told["changed"] == [] and told["calls"] == []
    assert [shape[1:] for shape in told["shapes"]] == [[46, 64], [46, 64]] and not told["boxes"]
    if order == "first":
        assert [path for path in home.rglob("*") if path.is_file() and "ltralytics" in str(path)] == []


def test_without_ultralytics_the_way_out_is_told(detector, monkeypatch):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(detector, "version", absent)
    with pytest.raises(detector.NoDetector) as caught:
        detector.tools()
    assert all(part in str(caught.value) for part in ('pip install "ultralytics>=8.4"', "AGPL-3.0", "connect a mask"))


@pytest.mark.parametrize("old", ["8.3.41", "8.3.252", "7.0"])
def test_old_releases_are_refused_before_they_are_imported(detector, monkeypatch, old):
    monkeypatch.setattr(detector, "version", lambda package: old)
    with pytest.raises(detector.NoDetector, match=f"ultralytics {old} is too old"):
        detector.tools()


def test_a_missing_part_of_ultralytics_is_named(detector, monkeypatch):
    monkeypatch.setattr(detector, "version", lambda package: "8.4.190")
    monkeypatch.setitem(sys.modules, "ultralytics.nn.tasks", None)
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(detector.NoDetector, match="ultralytics"):
        detector.tools()


def test_everything_is_put_back_after_an_error(detector, monkeypatch, tmp_path):
    monkeypatch.setenv("YOLO_OFFLINE", "mine")
    save, threads = torch.save, torch.get_num_threads()
    with pytest.raises(KeyError), detector.traceless(tmp_path):
        os.environ.update(YOLO_OFFLINE="other", SOMETHING_NEW="1")
        del os.environ["PATH"]
        torch.save = None
        torch.set_num_threads(threads + 1)
        raise KeyError
    assert os.environ["YOLO_OFFLINE"] == "mine" and "SOMETHING_NEW" not in os.environ and os.environ["PATH"]
    assert torch.save is save and torch.get_num_threads() == threads


def finder(detector, rows, boxes=True, size=64):
    network = SimpleNamespace(stride=torch.tensor([8.0, 32.0]))
    output = ((torch.zeros(1), torch.ones(4, 2, 16, 16)),) if not boxes else (torch.zeros(1),)
    return detector.Finder(
        type("Net", (), {"stride": network.stride, "__call__": lambda self, images: output})(),
        lambda *_, **__: rows, size, (0,), 1, boxes, torch.device("cpu"),
    )  # fmt: skip


def test_boxes_become_soft_ellipses(detector):
    found = finder(detector, [torch.tensor([[10.0, 10, 50, 40, 0.9, 0]])]).find(torch.rand(1, 64, 64, 3), 0.3)[0].masks
    assert found.shape == (1, 64, 64) and found[0, 25, 30] == 1.0 and found[0, 11, 11] == 0.0
    assert 0 < found[0, 25, 10] < 1, "the edge is soft"
    assert finder(detector, [torch.zeros(0, 6)]).find(torch.rand(1, 64, 64, 3), 0.3)[0].masks.shape == (0, 64, 64)


def test_outlines_go_past_their_box_by_a_fifth(detector):
    """Boxes of real people are often drawn through their heads; the outline knows better, but not far away."""
    rows = torch.tensor([[20.0, 10, 40, 30, 0.9, 0, 5.0, 5.0]])
    found = finder(detector, [rows], boxes=False).find(torch.rand(1, 64, 64, 3), 0.3)[0].masks[0]
    assert found[6:34, 16:44].min() > 0.9, "20 + 2 * 4 pixels each way"
    assert max(found[:6].max(), found[34:].max(), found[:, :16].max(), found[:, 44:].max()) == 0


def test_less_sure_people_are_given_as_such(detector):
    asked = []
    rows = torch.tensor([[10.0, 10, 50, 40, 0.9, 0], [10, 10, 50, 40, 0.2, 0]])
    made = dataclasses.replace(finder(detector, []), suppress=lambda output, least, *_, **__: asked.append(least) or [rows])
    for confidence, least, sure in ((0.35, 0.1, [True, False]), (0.05, 0.05, [True, True])):
        assert made.find(torch.rand(1, 64, 64, 3), confidence)[0].sure.tolist() == sure and asked.pop() == least


@pytest.mark.parametrize("height, width", [(1, 1), (1, 500), (97, 33), (640, 360)])
def test_any_picture_fits_the_network(detector, height, width):
    images, inside = detector.letterboxed(torch.rand(1, height, width, 3), 64, 32)
    assert images.shape[2] % 32 == images.shape[3] % 32 == 0 and max(inside) == 64 and min(inside) >= 1
