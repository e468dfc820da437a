"""bench.sound on a joint model of three blocks: what it counts and compares."""

import importlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bench import sound

pytestmark = pytest.mark.host
TINY = replace(
    sound.MODELS["LTX-2"], config=sound.LTX_AV | {"num_layers": 3}, reused=0.2, shapes=((1, 16, 2, 2, 2), (1, 8, 3, 16))
)


@pytest.fixture
def bench(comfy, monkeypatch):
    monkeypatch.setattr(sound, "STEPS", 8)
    monkeypatch.setattr(sound, "HALVINGS", 6)
    made = sound.Bench.__new__(sound.Bench)
    policy = importlib.import_module(f"{comfy.core.__name__}.decide.policy")
    made.pack = SimpleNamespace(core=comfy.core, host=comfy.host, run=comfy.run, policy=policy)
    return made


@torch.inference_mode()
def test_every_way_computes_as_many_steps_and_is_held_against_the_plain_run(bench):
    stage = sound.Stage(TINY, 0)
    assert stage.plain.computed == 8 and len(stage.plain.way) == 8
    assert [len(part) for part in stage.plain.end] == [16 * 2 * 2 * 2, 8 * 3 * 16]
    assert set(stage.plain.beside(stage.plain).values()) == {0.0}
    for name, way in sound.WAYS.items():
        sampled = way(bench, stage, 4)
        wanted = 5 if name.endswith("that cost") else 4
        assert sampled.computed == wanted or name.startswith("EasyCache") and 2 <= sampled.computed <= 6
        errors = sampled.beside(stage.plain)
        assert 0 < errors["sound"] < 1 and 0 < errors["picture"] < 1, name


def test_a_step_whose_picture_was_reused_is_no_computed_one(bench):
    stage = sound.Stage(TINY, 1)
    with torch.inference_mode():
        assert [bench.ours(stage, count, "residual").computed for count in (2, 5)] == [2, 5]


def test_what_falls_short_is_said():
    def rows(sound_error, picture, computed=10.0):
        easy = {"way": "EasyCache of ComfyUI", "sound": 0.3, "picture": 0.2, "computed": 10.0}
        ours = {"way": "SyncCache, residuals", "sound": sound_error, "picture": picture, "computed": computed}
        return [{"model": "M"} | each for each in (ours, {"way": "SyncCache, outputs"}, easy)]

    assert list(sound.missed(rows(0.09, 0.2))) == []
    [line] = sound.missed(rows(0.11, 0.2))
    assert line.startswith("M: the sound is off by 0.11, EasyCache's by 0.3")
    assert len(list(sound.missed(rows(float("nan"), 0.21, 11.0)))) == 3
