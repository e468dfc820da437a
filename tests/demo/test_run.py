"""The demo from end to end, on both backends; how it reads its inputs and prints its numbers."""
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from demo import media, run, scene, scores, table
from demo.portraits import render_clip, render_portrait
from demo.standalone import Take
from demo.talker import DIT_FILE, SIZE

SETTINGS = scene.Settings(steps=6)
needs_weights = pytest.mark.skipif(not DIT_FILE.is_file(), reason=f"{DIT_FILE.name} is not there")


def hum(seconds, rate=16000):
    time = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 150 * time) * (np.sin(2 * np.pi * 3 * time) > 0)).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    """(WAV, portrait) in a folder with a space."""
    folder = tmp_path / "my files"
    folder.mkdir()
    media.write_wav(folder / "speech.wav", hum(2.5), 16000)
    media.Image.fromarray(media.to_bytes(render_portrait(3, 96))).save(folder / "me.png")
    return folder / "speech.wav", folder / "me.png"


def arguments(files, tmp_path, *more):
    return ["--audio", str(files[0]), "--portrait", str(files[1]), "--out", str(tmp_path / "an out"),
            "--repeats", "1", *more]


def check_outputs(folder, steps):
    assert {path.name for path in folder.iterdir()} == {"plain.mp4", "synccache.mp4", "strip.png", "report.json"}
    report = json.loads((folder / "report.json").read_text())
    assert report["steps"]["computed"] + report["steps"]["reused"] == steps and report["steps"]["reused"] > 0
    assert report["synccache"]["steps"][0]["action"] == "compute"
    assert set(report["psnr_to_plain_db"]) == set(scores.REGIONS)


@needs_weights
def test_demo_on_diffsynth(files, tmp_path, capsys):
    pytest.importorskip("diffusers")
    run.main(arguments(files, tmp_path, "--backend", "diffsynth", "--steps", "8", "--speedup", "2"))
    check_outputs(tmp_path / "an out", 8)
    told = capsys.readouterr().out
    assert "its first 2.06 s are used" in told and "steps reused" in told and table.CAVEAT in told


@needs_weights
@pytest.mark.host
def test_demo_in_comfyui(host_folder, files, tmp_path, capsys):
    run.main(arguments(files, tmp_path, "--backend", "comfyui", "--steps", "8", "--speedup", "2"))
    check_outputs(tmp_path / "an out", 8)
    assert "ComfyUI" in capsys.readouterr().out


@needs_weights
@pytest.mark.host
def test_both_backends_film_the_same(host_folder):
    pytest.importorskip("diffusers")
    from demo.comfy_graph import Comfy
    from demo.standalone import Standalone
    shot = scene.make_scene(render_portrait(3), hum(2.1), 16000)
    alone, hosted = Standalone(shot, SETTINGS), Comfy(host_folder, shot, SETTINGS)
    videos = [backend.decode(backend.sample().latents) for backend in (alone, hosted)]
    assert scores.psnr(*videos, np.ones((SIZE, SIZE), bool)) > 50


@needs_weights
def test_off_is_identical():
    pytest.importorskip("diffusers")
    from demo.standalone import Standalone
    from synccache_core import Config
    backend = Standalone(scene.make_scene(render_portrait(3), hum(2.1), 16000), SETTINGS)
    plain, off = backend.sample(), backend.sample(Config(target_speedup=1.0), torch.ones(SIZE, SIZE))
    assert torch.equal(plain.latents, off.latents) and off.report.reused == 0


@pytest.mark.parametrize(("more", "message"), [
    (["--audio", "none.wav"], "--audio: none.wav: no such file"),
    (["--portrait", "none.png"], "--portrait: none.png: no such file"),
    (["--speedup", "0.5"], "--speedup 0.5: must be 1 to 100"), (["--speedup", "nan"], "--speedup nan"),
    (["--steps", "1"], "--steps 1: must be 2 to 1000"), (["--cache-ratio", "2"], "--cache-ratio 2.0: must be 0 to 1")])
def test_wrong_values_are_named_in_one_line(files, tmp_path, more, message):
    with pytest.raises(SystemExit) as stop:
        run.main(arguments(files, tmp_path, *more))
    assert str(stop.value).startswith(f"error: {message}") and "\n" not in str(stop.value)


def test_out_that_is_a_file_is_named(files):
    with pytest.raises(SystemExit, match="--out .*cannot make this folder"):
        run.main(["--audio", str(files[0]), "--portrait", str(files[1]), "--out", str(files[0])])


def test_comfyui_by_force_needs_comfyui(files, tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", "none")
    with pytest.raises(SystemExit, match="--backend comfyui: no ComfyUI found"):
        run.main(arguments(files, tmp_path, "--backend", "comfyui"))


def test_long_and_short_sounds_are_said():
    picture = np.zeros((10, 20, 3), np.float32)
    long, short = scene.make_scene(picture, hum(4), 16000), scene.make_scene(picture, hum(1), 16000)
    assert "first 2.06 s" in long.notes[0] and "not square" in long.notes[1]
    assert "silence follows" in short.notes[0] and len(short.sound) == 33000
    assert short.audio_embed.shape[:2] == (1, 25) and short.audio_embed.shape[3] == 36
    assert short.opening.shape == (33,) and short.opening[-1] == 0


def test_psnr_and_regions():
    a = np.zeros((2, SIZE, SIZE, 3))
    masks = scores.region_masks(SIZE)
    assert scores.psnr(a, a + 0.1, masks["whole"]) == pytest.approx(20)
    assert scores.fidelity(a, a) == dict.fromkeys(scores.REGIONS, math.inf)
    b = a + 0.1 * masks["background"][None, :, :, None]
    assert scores.fidelity(b, a)["human"] == math.inf and scores.fidelity(b, a)["background"] == pytest.approx(20)
    assert not (masks["mouth"] & masks["background"]).any()


def test_human_outline_fits_the_drawn_people():
    clip = render_clip(3, np.zeros(2), SIZE)
    drawn, outline = clip.human_mask[0] > 0.5, scores.human_outline(SIZE) > 0
    assert (drawn & outline).sum() / (drawn | outline).sum() > 0.75


def test_mouth_follows_only_its_own_sound():
    opening = np.abs(np.sin(np.arange(33) / 3)).astype(np.float32)
    frames = render_clip(3, opening, SIZE).frames
    assert scores.mouth_follows(frames, opening) > 0.9
    assert scores.mouth_follows(frames, opening[::-1]) < 0.7
    assert scores.mouth_follows(frames[:1].repeat(33, axis=0), opening) == 0
    assert scores.mouth_follows(frames * 0, opening) == 0


def numbers(report):
    frames = np.full((33, SIZE, SIZE, 3), 0.5)
    takes = Take(None, 10.0), Take(None, 4.0, report)
    return table.numbers(*takes, (frames, frames), np.zeros(33), 40)


def test_table_shows_what_was_measured():
    found = numbers(SimpleNamespace(reused=30, speedup_ideal=2.5, notes=[]))
    text = table.table(found)
    assert "2.50x" in text and "3.5" in text and "identical" in text
    assert found["speedup"]["by_operations_on_wan2_2_s2v_14b"] == pytest.approx(40 / (10 + 30 * 0.0475), rel=0.02)
    json.dumps(table.json_safe(found), allow_nan=False)


def test_table_without_a_report_means_off():
    found = numbers(None)
    assert found["steps"] == {"all": 40, "computed": 40, "reused": 0} and found["speedup"]["by_operations"] == 1.0
