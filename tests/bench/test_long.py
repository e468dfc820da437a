"""What `bench.long` says of chunks, by hand: a grey picture that is a tenth brighter from the second chunk on."""

import numpy as np
import pytest

from bench.harness import MOST_DB
from bench.long import FIRST, WAYS, figures, missed, tables
from demo.talker import FRAMES, LATENT_FRAMES, SIZE

SECOND = 4 * LATENT_FRAMES


@pytest.fixture
def chunks():
    frames = np.full((FRAMES + SECOND, SIZE, SIZE, 3), 0.5)
    frames[FRAMES:] = 0.6
    return figures(FIRST, frames, np.full_like(frames, 0.5), np.zeros(len(frames) + 3))


def test_drift_seam_and_distance(chunks):
    first, second = chunks
    assert first["identity_percent"] == first["colour_percent"] == 0 and first["seam_ratio"] is None
    assert (second["identity_percent"], second["colour_percent"]) == pytest.approx((10, 10))
    assert second["seam_ratio"] == pytest.approx(FRAMES + SECOND - 1)  # all of the change there is
    assert (first["psnr_db"], second["psnr_db"]) == pytest.approx((MOST_DB, 20))
    assert first["sync"] == second["sync"] == 0  # a mouth that does not move follows nothing


def good() -> dict:
    drift = {"identity_percent": 1.0, "colour_percent": 0.5, "seam_ratio": None}
    one = {"sync": 0.95, "lag_frames": 0, "psnr_db": 40.0, **drift}
    return {way: [dict(one), dict(one)] for way in WAYS}


def test_the_tables_have_a_row_for_each_way_and_a_column_for_each_chunk():
    one, other = good(), good()
    one["Balanced"][1] |= {"sync": 0.85, "identity_percent": 2.0, "computed": 6}
    other["Balanced"][1] |= {"computed": 6}
    made = dict(zip(("sync", "lag", "identity", "colour", "seam", "psnr", "computed"), tables([one, other]).values()))
    assert [row["way"] for row in made["sync"]] == list(WAYS)
    assert made["sync"][1] == {"way": "Balanced", "chunk 1": 0.95, "chunk 2": pytest.approx(0.9)}
    assert made["identity"][1]["chunk 2"] == 2 and made["seam"] == []
    assert made["computed"] == [{"way": "Balanced", "chunk 2": 6}]


@pytest.mark.parametrize(("change", "told"), [
    ({}, None),
    ({"sync": 0.92}, "Balanced, chunk 2: correlation 0.920, plain 0.950"),
    ({"lag_frames": -2}, "Balanced, chunk 2: lag 2 frames, at most 1"),
    ({"identity_percent": 1.6}, "Balanced, chunk 2: drift 1.60 %, plain 1.00 %, below 3 %"),
    ({"colour_percent": 3.0}, "Balanced, chunk 2: drift 3.00 %, plain 1.00 %, below 3 %"),
])  # fmt: skip
def test_what_falls_short_is_named(change, told):
    found = good()
    found["Balanced"][1] |= change
    assert list(missed([found])) == ([told] if told else [])
