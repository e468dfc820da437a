"""Published change curves beside the schedule."""

import pytest

from bench import curves


def test_gaps_by_hand():
    # steps 0 and 3 computed of five: step 1 is off by |1 - 0.9|, step 2 by |1 - 0.9 * 0.5|, step 4 by |1 - 2|
    assert curves.gaps([0.9, 0.5, 0.25, 2.0], (0, 3)) == pytest.approx([0.1 + 0.55, 1.0])
    assert curves.gaps([0.9, 0.5], (0, 1, 2)) == [0, 0, 0]


def test_a_blend_misses_less_than_even_steps_on_every_wan_family():
    table, source = curves.tables()
    rows = table["change that reuse misses"]
    assert "arXiv 2506.09045" in source and len({row["family"] for row in rows}) == 8
    for family in {row["family"] for row in rows if row["family"].startswith("Wan")}:
        missed = {row["alpha"]: row["all gaps at 0.5"] for row in rows if row["family"] == family}
        assert missed[0.5] < missed[0.0], family
