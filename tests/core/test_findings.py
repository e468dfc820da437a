"""What is said of a comparison: no infinities, and the floor explained."""

import json
from dataclasses import replace

import numpy as np
import pytest

from synccache_core.compare.findings import Findings, Mouths
from synccache_core.compare.likeness import Likeness
from synccache_core.sentences import told

CURVE = np.clip(np.sin(np.arange(33) * 1.1) + 0.2 * np.cos(np.arange(33) * 2.7), 0, 1)


def likeness(psnr, ssim=0.9):
    return Likeness(psnr, ssim, np.full(33, psnr), 7, 1.0)


def a_finding(whole=40.0, mouth=30.0, floor=None, second=None, loudness=None, accelerated=CURVE):
    regions = {"whole": likeness(whole), "mouth": likeness(mouth)}
    floors = {} if floor is None else {name: likeness(floor) for name in regions}
    return Findings(33, 96, 64, 16.0, regions, floors, 0.001, Mouths("hand", CURVE, accelerated, second, loudness))


def test_the_table_has_a_row_a_region_and_the_floor_where_it_is_known():
    table = a_finding().table()
    assert table[0] == "| region | PSNR | SSIM | worst frame |"
    assert table[2:] == [f"| {name} dB | 0.9000 | {name[-4:]} dB (frame 7) |" for name in ("whole | 40.0", "mouth | 30.0")]
    table = a_finding(floor=20.0).table()
    assert table[0].endswith("| two noises |") and table[2].endswith("| 20.0 dB |")
    listed = [line[2:] for line in a_finding().text().splitlines() if line.startswith("- ")]
    assert listed[0].startswith("flicker: ") and listed[1].startswith("mouth, by ")
    assert "33 frames of 96×64" in a_finding().text() and "| 0.9999 |" in table_of(0.99999) and "| 1 |" in table_of(1.0)


def test_every_line_is_a_sentence_and_the_json_is_english():
    lines = a_finding(floor=20.0, second=CURVE, loudness=CURVE).lines()
    assert [line for line in lines if line and isinstance(told(line), str)] == ["| - | - | - | - | - |"]
    verdict = told(lines[0])["values"]["likeness"]
    assert verdict["values"]["known"]["values"]["floor"][0]["values"]["region"] == {"key": "whole", "values": {}}
    assert json.loads(a_finding().to_json())["verdict"] == str(a_finding().verdict())


def table_of(ssim):
    found = a_finding()
    return "\n".join(replace(found, regions={"whole": likeness(50.0, ssim)}).table())


@pytest.mark.parametrize(
    "floor, words",
    [(None, "second_noise"), (29.0, "small differences"), (35.0, "may show"), (39.0, "another performance")],
)
def test_the_verdict_explains_the_floor(floor, words):
    verdict = a_finding(floor=floor).verdict()
    assert words in verdict
    if floor is not None:
        assert f"Two noises of your model differ by whole {floor} dB, mouth {floor} dB" in verdict
        assert f"closer to plain by whole {40 - floor:+.1f} dB, mouth {30 - floor:+.1f} dB" in verdict


def test_identical_videos_have_no_infinity_in_the_json():
    found = a_finding(np.inf, np.inf, floor=20.0, loudness=CURVE)
    assert "identical, pixel by pixel" in found.verdict()
    assert "| whole | identical | 0.9000 | identical | 20.0 dB |" in found.text()
    data = json.loads(found.to_json())
    whole = data["accelerated"]["whole"]
    assert whole["psnr_db"] is None and whole["identical"] and whole["frames_psnr_db"] == [None] * 33
    assert data["second_noise"]["whole"] == {**whole, "psnr_db": 20.0, "identical": False, "frames_psnr_db": [20.0] * 33,
                                             "worst_frame_psnr_db": 20.0}  # fmt: skip
    assert "connect a plain run with another seed" in a_finding(floor=np.inf).verdict()


def test_the_lips_beside_the_sound():
    late = a_finding(loudness=CURVE, accelerated=np.roll(CURVE, 2))
    assert "later" in late.verdict() and "less well" in late.verdict() and "2 frames late (125 ms)" in "\n".join(late.lips())
    assert "as the plain one does (1.000 beside 1.000)" in a_finding(loudness=CURVE).verdict()
    assert "hardly follows" in a_finding(loudness=np.cos(np.arange(33) * 2.0)).verdict()
    still = a_finding(loudness=CURVE, accelerated=CURVE * 0)
    assert "does not move" in still.verdict() and still.to_dict()["mouth"]["with_sound"]["accelerated"] is None
    data = a_finding(loudness=CURVE, second=CURVE, floor=20.0).to_dict()["mouth"]
    assert data["beside_plain"]["second_noise"] == {"correlation": 1.0, "lag_frames": 0} and len(data["curves"]) == 4
    assert a_finding().to_dict()["mouth"]["with_sound"] is None
