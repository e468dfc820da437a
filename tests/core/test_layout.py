"""Segments of the real Wan2.2-S2V and of the kinds that differ from it."""

import pytest

from synccache_core import BadConfig, Layout
from synccache_core.model.layout import even_groups, groups_for_ratio

S2V = Layout(40, (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39))


def spans(layout):
    """[(first, last)] of the segments 1.. of an "after" layout, from where they open and close."""
    assert layout.opens[0] == 0
    opens = {s: b for b, s in layout.opens.items()}
    closes = {s: b for b, s in layout.closes.items()}
    return [(opens[s], closes[s]) for s in range(1, layout.segments)]


def test_s2v_has_the_twelve_segments_of_the_paper():
    assert S2V.segments == 12 and S2V.probe_blocks == 1
    assert spans(S2V) == [(1, 4), (5, 8), (9, 12), (13, 16), (17, 20), (21, 24), (25, 27), (28, 30), (31, 33), (34, 36),
                          (37, 39)]


def test_blocks_after_the_last_refresh_are_a_tail_segment():
    layout = Layout(10, (1, 4))
    assert layout.segments == 3 and spans(layout) == [(2, 4), (5, 9)]
    assert layout.probe_blocks == 2


def test_audio_inside_runs_from_behind_one_audio_to_before_the_next():
    layout = Layout(3, (0, 1, 2), "inside")
    assert layout.segments == 4  # probe, two between, tail
    assert layout.reuse_steps == {1: (("add", 1), ("refresh", 1)), 2: (("add", 2), ("refresh", 2), ("add", 3))}


def test_one_block_leaves_nothing_to_store():
    assert Layout(1, (0,)).storable() == 0 and Layout(1, (0,), "inside").storable() == 0
    assert even_groups(Layout(1, (0,)), 0) == ()


@pytest.mark.parametrize("refresh", [(), (3, 1), (0, 0), (-1,), (5,)])
def test_impossible_refresh_points_name_the_range(refresh):
    with pytest.raises(BadConfig, match=r"0\.\.4"):
        Layout(5, refresh)


def test_ratio_counts_refresh_points_and_keeps_at_least_one_residual():
    assert [groups_for_ratio(S2V, r) for r in (1.0, 0.5, 0.25, 1 / 12, 0.0)] == [11, 6, 3, 1, 1]


@pytest.mark.parametrize("count", range(1, 12))
def test_even_groups_cover_each_segment_once_in_order(count):
    groups = even_groups(S2V, count)
    assert [s for group in groups for s in group] == list(range(1, 12))
    sizes = [len(group) for group in groups]
    assert len(groups) == count and max(sizes) - min(sizes) <= 1
