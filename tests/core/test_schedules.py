"""The schedule without calibration, by hand."""

import pytest

from synccache_core.decide.schedules import blended, gap_trust
from synccache_core.errors import BadConfig
from synccache_core.reuse.forecast import stable_trust

EVEN = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
LATE = [1.0, 0.99, 0.98, 0.97, 0.5, 0.0]  # 5 evaluations whose sigma moves at the end


def test_even_sigmas_give_even_steps_at_every_blend():
    for alpha in (0.0, 0.5, 1.0):
        assert blended(EVEN, 3, alpha) == (0, 2, 4)


def test_alpha_one_follows_sigma_and_zero_the_index():
    assert blended(LATE, 3, 0.0) == (0, 2, 4)
    # Half of the way is 0.75, nearest to evaluation 3 at 0.97 of those that are free: 4 is the last.
    assert blended(LATE, 3, 1.0) == (0, 3, 4)
    assert blended(LATE, 2, 1.0) == (0, 4)


@pytest.mark.parametrize("computed", range(1, 6))
def test_first_and_last_are_computed_and_all_are_distinct(computed):
    for sigmas in (EVEN, LATE, [0.0, 0.1, 0.5, 0.9, 1.0, 1.0], [1.0] * 6):
        found = blended(sigmas, computed, 0.75)
        assert len(set(found)) == computed and found == tuple(sorted(found))
        assert found[0] == 0 and (computed == 1 or found[-1] == 4)


def test_bad_count_names_the_range():
    with pytest.raises(BadConfig, match=r"1\.\.5, got 6"):
        blended(EVEN, 6)


def test_a_gap_is_trusted_by_where_it_ends():
    sigmas, schedule = [1.0, 0.9, 0.8, 0.4, 0.0], (True, True, False, True)
    assert gap_trust(schedule, sigmas, 2, 6.0) == stable_trust(0.9, 0.4, 6.0) == 0.0 < gap_trust(schedule, sigmas, 2, 1.0)
    assert gap_trust((True, False, False, False), sigmas, 1, 1.0) == 0.0  # until the end, which is at 0
    assert gap_trust((True,) * 7 + (False,), sigmas, 7, 1.0) == 0.0  # a sampler that calls more often than was thought
