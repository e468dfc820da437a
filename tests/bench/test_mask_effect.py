"""bench.mask_effect in either world: which masks there are, and what is compared. No weights of a talker."""

import shutil

import numpy as np
import pytest
import torch

from bench import mask_effect

VIDEO = np.random.default_rng(0).random((5, 96, 96, 3), np.float32)


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_wild_masks_follow_the_video():
    found, = mask_effect.portrait_masks([200])
    made = mask_effect.masks(200, found, VIDEO, "wild")
    assert [*made] == ["none", "true", "portrait", "wrong"] and made["true"].shape == VIDEO.shape[:3]
    assert torch.equal(made["wrong"].roll(48, dims=-1), made["true"])
    assert found.shape == (1, 96, 96) and 0.1 < found.mean() < 0.9


def test_options_of_the_wild_world_need_no_detector():
    options = mask_effect.options(["--world", "wild", "--quick"])
    assert options.world == "wild" and mask_effect.numbers(2, "wild") == [200, 201]


def test_only_equally_many_computed_steps_are_compared():
    def run(count: int, db: float) -> dict:
        return dict.fromkeys(mask_effect.FIGURES, db) | {"computed_steps": count, "schedule": [0]}

    kinds = {"none": run(8, 20.0), "true": run(8, 21.0), "portrait": run(9, 30.0), "wrong": run(8, 19.0)}
    films = [{("online", kind): made for kind, made in kinds.items()}]
    table = mask_effect.gains(films, "wild")
    human = {(row["mask"], row["against"]): row for row in table if row["figure"] == "human_db"}
    assert human["true", "none"]["mean"] == 1.0 and human["portrait", "none"]["clips_paired"] == 0
    assert any("computed steps differ in 1 clips" in line for line in mask_effect.missed(films, table, "wild"))


def test_what_moves_behind_people_is_measured_in_either_world():
    steady = np.broadcast_to(np.float32(0.5), VIDEO.shape).copy()
    for world in ("tiny", "wild"):
        assert mask_effect.backdrop_change(steady, world) == 0 < mask_effect.backdrop_change(VIDEO, world)
