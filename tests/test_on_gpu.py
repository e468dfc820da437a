"""tools/on_gpu.sh and what carries its needs to a bare machine: what is packed comes back, a dry run does all of it."""

import json
import os
import subprocess
import sys
import wave
from argparse import Namespace

import numpy
import pytest
import torch

from demo import speech
from demo.find_host import find_host
from tests.conftest import ROOT
from tools import gpu_table
from tools import pack_for_gpu as pack

WEIGHTS = torch.randn(5000, generator=torch.Generator().manual_seed(0)).half().numpy().tobytes()


@pytest.mark.parametrize("data", [b"", b"a", b"header" + WEIGHTS, WEIGHTS[:-1]], ids=["empty", "one", "weights", "odd"])
def test_packed_weights_come_back(data):
    assert pack.expanded(pack.squeezed(data)) == data


def test_packed_weights_are_smaller():
    assert len(pack.squeezed(WEIGHTS)) < 0.9 * len(WEIGHTS)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """(a repository with weights and documents, options with the folder of what travels)."""
    root = tmp_path / "checkout"
    files = {"demo/assets/wild_net.safetensors": WEIGHTS, "demo/assets/tiny_net.safetensors": WEIGHTS[:1000],
             "docs/large.png": b"x" * 60_000, "docs/small.md": b"words", ".gitignore": b".gpu/\n"}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    for arguments in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    monkeypatch.setattr(pack, "REPO", root)
    (root / ".gpu").mkdir()
    return root, Namespace(folder=root / ".gpu")


def test_away_and_back(checkout, capsys):
    root, options = checkout
    before = {path: path.read_bytes() for path in pack.travelling()}
    pack.pack_weights(options.folder, talkers=False)
    assert pack.away(options) == 0
    assert sorted(path.name for path in before if path.stat().st_size == 0) == ["large.png", "tiny_net.safetensors",
                                                                             "wild_net.safetensors"]  # fmt: skip
    assert "Commit nothing" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="away already"):
        pack.away(options)
    assert pack.back(options) == 0 and not pack.aside().exists()
    assert {path: path.read_bytes() for path in pack.travelling()} == before


def test_other_weights_than_packed_stay(checkout):
    root, options = checkout
    pack.pack_weights(options.folder, talkers=True)
    (root / "demo/assets/wild_net.safetensors").write_bytes(WEIGHTS[::-1])
    with pytest.raises(SystemExit, match="other weights are packed"):
        pack.away(options)
    pack.pack_weights(options.folder, talkers=False)
    assert [path.stem for path in options.folder.glob("assets/*")] == ["wild_net.safetensors"]
    assert pack.away(options) == 0


def test_what_was_written_meanwhile_is_not_lost(checkout, capsys):
    root, options = checkout
    pack.pack_weights(options.folder, talkers=False)
    pack.away(options)
    new = root / "demo/assets/wild_net.safetensors"
    new.write_bytes(b"newer")
    assert pack.back(options) == 1 and new.read_bytes() == b"newer" and "written meanwhile" in capsys.readouterr().out
    new.write_bytes(b"")
    assert pack.back(options) == 0 and new.read_bytes() == WEIGHTS


def test_weights_are_unpacked_where_files_are_empty(checkout, monkeypatch):
    root, options = checkout
    pack.pack_weights(options.folder, talkers=True)
    monkeypatch.setattr(pack, "members", lambda host, talkers: [(root / "docs/small.md", "ComfyUI/small.md")])
    pack.pack_code(options.folder, root, False)
    pack.toy_bank(options.folder / "toy.npz")
    pack.pack_array_file(options.folder / "toy.npz", options.folder / "sounds.xz")
    tiny, wild = (root / f"demo/assets/{name}_net.safetensors" for name in ("tiny", "wild"))
    tiny.write_bytes(b"mine"), wild.write_bytes(b"")
    assert pack.unpack(options) == 0
    assert tiny.read_bytes() == b"mine" and wild.read_bytes() == WEIGHTS
    assert (options.folder / "ComfyUI/small.md").read_text() == "words"
    with numpy.load(options.folder / "sounds.npz") as made, numpy.load(options.folder / "toy.npz") as given:
        assert all((made[name] == given[name]).all() for name in given)


def test_too_much_to_travel_is_said(checkout, monkeypatch, capsys):
    _, options = checkout
    monkeypatch.setattr(pack, "MOST", 10)
    assert pack.tell_size(options.folder) == 1 and "once the weights are away" in capsys.readouterr().out


def test_saved_speech_is_what_was_spoken(tmp_path, monkeypatch):
    with wave.open(str(ROOT / "demo/assets/speech.wav")) as file:
        rate, samples = file.getframerate(), numpy.frombuffer(file.readframes(9000), "<i2").astype(numpy.float32) / 32768
    monkeypatch.setattr(speech, "speak", lambda *_: (torch.from_numpy(samples)[None], rate))
    speech.keep(tmp_path / "speech.npz", [7])
    monkeypatch.delattr(speech, "speak")
    monkeypatch.setenv("SAVED_SPEECH", str(tmp_path / "speech.npz"))
    waveform, found = speech.speech(7)
    assert found == rate and torch.equal(waveform[0], torch.from_numpy(samples))
    with pytest.raises(FileNotFoundError, match="seed 8"):
        speech.speech(8)


LOG = """\
[  12.0s] dit step 20 loss 0.2612 9.5 steps/s clips 3 of 9
[  17.0s] dit step 90 loss 0.2511 10.5 steps/s clips 3 of 9
[  30.0s] 16 clips, two noises: whole 21.20 dB, people 16.00 dB
[  30.0s] 16 clips, half of the steps: whole 28.00 dB, people 23.00 dB
[  31.0s] clip 0 pair two noises 20.1 dB mouth r rendered, noise 1, 2: 0.99, 0.80, 0.90
[  31.0s] clip 1 single two noises 20.1 dB mouth r rendered, noise 1, 2: nan, nan, nan
"""


def test_a_table_of_a_real_run(tmp_path, capsys):
    rows = json.loads((ROOT / "docs/results/scale-h100.json").read_text())["rows"]
    (tmp_path / "scale.json").write_text(json.dumps({"rows": [*rows, rows[0] | {"note": "left out: takes about 60 s"}]}))
    (tmp_path / "on_gpu.log").write_text(LOG)
    assert gpu_table.main([str(tmp_path)]) == 0
    said, made = capsys.readouterr().out, json.loads((tmp_path / "on_gpu.json").read_text())
    assert "reused 0.259 s; 10 of 40: 2.70 times, 96.2 % of the ideal" in said and "left out: takes about 60 s" in said
    assert "extra 2.397 GiB, predicted 2.395 (+0.1 %); peak 11.89 GiB" in said
    assert made["training"] == [{"steps": 90, "loss_at_first": 0.2612, "loss_at_last": 0.2511, "steps_per_second": 10.5,
                                 "failed": [], "two_noises_db": 21.2, "mouth_correlation": pytest.approx(0.85),
                                 "mouth_correlation_of_renderer": 0.99}]  # fmt: skip


def test_what_is_missing_fails(tmp_path):
    (tmp_path / "on_gpu.log").write_text(LOG)
    assert gpu_table.main([str(tmp_path)]) == 1


@pytest.mark.host
@pytest.mark.slow
def test_a_dry_run_does_all_of_it(tmp_path):
    environment = dict(os.environ, PYTHON=sys.executable, COMFYUI_PATH=str(find_host()), OMP_NUM_THREADS="1",
                       BESIDE='echo "a GPU: [$CUDA_VISIBLE_DEVICES]"')  # fmt: skip
    done = subprocess.run(["timeout", "1200", "bash", "tools/on_gpu.sh", "--dry", str(tmp_path)], cwd=ROOT, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    short = done.stdout.rpartition("In short")[2]
    assert "apart, model's device: plain" in short and "training: steps" in short and "mouth_correlation" in short
    tables = json.loads((tmp_path / "on_gpu.json").read_text())
    assert "nothing about the real model" in tables["remark"][0]["remark"]
    assert any(title.startswith("bytes") for title in tables) and any(title.startswith("kernels") for title in tables)
    assert (tmp_path / "beside.log").read_text() == "a GPU: []\n"
    made = list(tmp_path.iterdir())
    assert len(made) <= 8 and all(path.stat().st_size < 16 << 20 for path in made)
