"""A detector file is data: no bomb in it goes off, and a broken one is an error in one line that names it."""

import importlib.util
import json
import os
import pickle
import zipfile

import numpy
import pytest
import torch
from safetensors.torch import save_file

from synccache_core.errors import BadDetector
from synccache_core.human import detector_file, pickled
from synccache_core.human.detector_file import FORMAT, VERSION, Detector, main, read
from synccache_core.human.pickled import StandIn
from tests.security.conftest import ARCHITECTURE

WEIGHTS = {"model.0.weight": torch.zeros(1)}


class Bomb:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.fixture
def sentinel(tmp_path):
    return tmp_path / "it ran"


def zipped(path, content: bytes, times: int = 1):
    """A file of torch.save's shape around a hand-made pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(times):
            archive.writestr(f"archive{number}/data.pkl", content)
            archive.writestr(f"archive{number}/version", "3\n")
    return path


def saved(path, **about):
    facts = {"version": VERSION, "task": "detect", "names": ["person"], "size": 64, "architecture": ARCHITECTURE, **about}
    save_file(WEIGHTS, path, metadata={FORMAT: json.dumps(facts)})
    return path


@pytest.mark.parametrize("kind", ["system", "open", "getattr", "eval"])
def test_a_bomb_never_goes_off(tmp_path, sentinel, kind):
    bombs = {
        "system": Bomb(os.system, f"touch '{sentinel}'"),
        "open": Bomb(open, str(sentinel), "w"),
        "getattr": Bomb(getattr(os, "mkdir"), str(sentinel)),  # noqa: B009 - pickled by its name in os
        "eval": Bomb(eval, f"open({str(sentinel)!r}, 'w')"),
    }
    torch.save({"model": bombs[kind]}, tmp_path / "evil.pt")
    with pytest.raises(BadDetector, match=r"evil\.pt: not loaded, because it would call"):
        read(tmp_path / "evil.pt")
    assert not sentinel.exists()


def test_names_that_yolo_files_hold_are_stand_ins_and_do_not_run(tmp_path, checkpoint, sentinel):
    path = checkpoint(detect=Bomb(getattr, torch.nn.Module, "forward"), other=Bomb(numpy.save, str(sentinel), 1.0))
    found = read(path)  # getattr and numpy pass the list of names; they are not called
    assert not list(sentinel.parent.glob("it ran*"))
    assert (found.task, found.names, found.size) == ("detect", ("person",), 64)
    assert set(found.weights) == {f"model.{key}" for key in (
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")}  # fmt: skip
    assert "yaml_file" not in found.architecture and found.architecture["nc"] == 1


@pytest.mark.parametrize("protocol", [4, 5])
def test_newer_pickles_cannot_hide_a_name(tmp_path, sentinel, protocol):
    path = zipped(tmp_path / "new.pt", pickle.dumps({"model": Bomb(os.system, f"touch '{sentinel}'")}, protocol))
    with pytest.raises(BadDetector, match=r"new\.pt.*STACK_GLOBAL"):
        read(path)
    assert not sentinel.exists()


def test_two_pickles_in_one_file_are_refused(tmp_path):
    with pytest.raises(BadDetector, match="2 pickles"):
        read(zipped(tmp_path / "two.pt", pickle.dumps({}, 2), times=2))


@pytest.mark.parametrize("content", [b"", b"\0", b"<!DOCTYPE html><html>", b"PK\x03\x04 cut off", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_broken_file_is_one_line_that_names_it(tmp_path, content, suffix):
    path = tmp_path / f"best.{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadDetector) as caught:
        read(path)
    assert str(caught.value).startswith(f"best.{suffix}: ") and "\n" not in str(caught.value)


def test_a_cut_off_checkpoint_is_refused(checkpoint):
    path = checkpoint()
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadDetector, match="damaged"):
        read(path)


def test_torch_without_a_safe_loader_is_refused_with_a_way_out(checkpoint, monkeypatch):
    path = checkpoint()
    monkeypatch.delattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
    with pytest.raises(BadDetector, match=r"torch .* cannot read a \.pt file safely.*2\.6.*\.safetensors"):
        read(path)


def test_what_other_packs_allowed_is_not_used_and_is_put_back(checkpoint):
    class Theirs(torch.nn.Module):
        def __setstate__(self, state):
            raise AssertionError("their class was used")

    path, before = checkpoint(), torch.serialization.get_safe_globals()
    try:
        torch.serialization.add_safe_globals([(Theirs, "ultralytics.nn.tasks.DetectionModel")])
        allowed = torch.serialization.get_safe_globals()
        assert read(path).task == "detect"
        assert set(torch.serialization.get_safe_globals()) == set(allowed)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def test_other_contents_are_named(tmp_path, checkpoint):
    with pytest.raises(BadDetector, match="ClassificationModel"):
        read(checkpoint(kind="ClassificationModel"))
    torch.save({"state_dict": {}}, tmp_path / "lora.pt")
    with pytest.raises(BadDetector, match="no YOLO model"):
        read(tmp_path / "lora.pt")


def test_endless_models_end(monkeypatch):
    loop = StandIn()
    loop.state = {"_modules": {"x": loop}}
    with pytest.raises(ValueError, match="nested too deep"):
        pickled.tensors(loop)
    wide = StandIn()
    wide.state = {"_parameters": {str(i): torch.zeros(1) for i in range(20)}}
    monkeypatch.setattr(pickled, "MOST_TENSORS", 10)
    with pytest.raises(ValueError, match="more than 10"):
        pickled.tensors(wide)


BAD = {
    "activation": ({"activation": "__import__('os').system('true')"}, "activation"),
    "activation call": ({"activation": "nn.SiLU(print('x'))"}, "activation"),
    "a function as layer": ({"head": [[-1, 1, "torch_load", ["x"]]]}, "layer"),
    "any torch class": ({"head": [[-1, 1, "nn.Module", []]]}, "layer"),
    "a word": ({"head": [[-1, 1, "Conv", ["globals"]]]}, "head"),
    "a huge layer": ({"head": [[-1, 1, "Conv", [10**9]]]}, "8192"),
    "many repeats": ({"head": [[-1, 10**6, "Conv", [8]]]}, "repeats"),
    "no layers": ({"backbone": []}, "backbone"),
    "scale": ({"scales": {"p": ["x", 1, 1]}}, "scales"),
    "no list": ({"head": "Conv"}, "head"),
}


@pytest.mark.parametrize("change", BAD, ids=str)
def test_a_hostile_architecture_is_refused(tmp_path, change):
    fields, message = BAD[change]
    with pytest.raises(BadDetector, match=rf"evil\.safetensors: .*{message}"):
        read(saved(tmp_path / "evil.safetensors", architecture={**ARCHITECTURE, **fields}))


@pytest.mark.parametrize(
    "field, value", [("task", "pose"), ("names", []), ("names", [1]), ("size", 10**9), ("size", None), ("version", 2)]
)
def test_hostile_facts_are_refused(tmp_path, field, value):
    with pytest.raises(BadDetector, match=rf"evil\.safetensors: .*{field}"):
        read(saved(tmp_path / "evil.safetensors", **{field: value}))


def test_other_safetensors_get_a_hint(tmp_path):
    save_file(WEIGHTS, tmp_path / "lora.safetensors")
    with pytest.raises(BadDetector, match="no detector's architecture.*detector_file convert"):
        read(tmp_path / "lora.safetensors")


def test_converting_keeps_everything_and_never_overwrites(tmp_path, checkpoint, capsys):
    source, target = checkpoint(), tmp_path / "out.safetensors"
    assert main(["convert", str(source), str(target)]) == 0
    assert "detect, 64 px, 7 tensors; person" in capsys.readouterr().out
    one, other = read(source), read(target)
    assert one.architecture == other.architecture and one.names == other.names and one.size == other.size
    assert all(torch.equal(one.weights[key], other.weights[key]) for key in one.weights | other.weights)
    assert main(["convert", str(source), str(target)]) == 1 and "new file" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "gone.pt"), str(tmp_path / "b.safetensors")]) == 1


def test_reading_needs_no_ultralytics():
    text = "".join(open(importlib.util.find_spec(m.__name__).origin).read() for m in (pickled, detector_file))
    assert "import ultralytics" not in text and "from ultralytics" not in text


@pytest.mark.parametrize("wanted", ["person", " Person ,hand", "*"])
def test_classes_are_chosen_by_name(detector, wanted):
    assert detector.chosen(Detector("detect", ("person", "dog"), 64, {}, {}), wanted, "x.pt")[0] == 0


def test_an_absent_class_is_an_error_that_lists_those_known(detector):
    with pytest.raises(Exception, match=r"best\.pt knows none of the classes 'person'; it knows: Normal, Fall"):
        detector.chosen(Detector("detect", ("Normal", "Fall"), 64, {}, {}), "person", "best.pt")
