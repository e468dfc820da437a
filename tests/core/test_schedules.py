"""The schedule without calibration, by hand."""

from itertools import pairwise, product
from math import log

import pytest

from synccache_core.decide.schedules import ALPHA, alpha_for, blended, evened, gap_trust
from synccache_core.errors import BadConfig
from synccache_core.reuse.forecast import stable_trust

EVEN = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
LATE = [1.0, 0.99, 0.98, 0.97, 0.5, 0.0]  # 5 evaluations whose sigma moves at the end


def shifted(shift, steps):
    return [shift * t / (1 + (shift - 1) * t) for t in (1 - step / steps for step in range(steps + 1))]


def test_even_sigmas_give_even_steps_at_every_blend():
    for alpha in (0.0, 0.5, 1.0):
        assert blended(EVEN, 3, alpha) == (0, 2, 4)


def test_alpha_one_follows_sigma_and_zero_the_index():
    assert blended(LATE, 3, 0.0) == (0, 2, 4)
    # Half of the way is 0.75, nearest to evaluation 3 at 0.97 of those that are free: 4 is the last.
    assert blended(LATE, 3, 1.0) == (0, 3, 4)
    assert blended(LATE, 2, 1.0) == (0, 4)


@pytest.mark.parametrize(("steps", "second"), [(4, 3), (6, 5), (8, 6), (10, 8), (20, 15)])
def test_of_two_the_second_lies_nearest_to_the_middle_of_all(steps, second):
    """Shift 8, .4375 by index: of ten, .54 of the density lie before the ninth (sigma .67), .69 before the last (.47)."""
    sigmas = shifted(8, steps)
    assert blended(sigmas, 2) == (0, second)
    assert blended(EVEN[:4] + [0.2], 2) == (0, 2) == blended(EVEN[:4] + [0.2], 2, end=False)


@pytest.mark.parametrize(("shift", "alpha"), [(1, 0.094), (3, 0.281), (5, 0.469), (8, ALPHA), (12, ALPHA)])
def test_the_share_by_sigma_goes_with_the_shift(shift, alpha):
    for steps in (4, 5, 20):
        assert alpha_for(shifted(shift, steps)) == pytest.approx(alpha, abs=1e-3)
    sigmas = shifted(shift, 20)
    for part in (sigmas[:11], sigmas[10:], sigmas[::-1]):  # half of a run, and video turned back into noise
        assert alpha_for(part) == pytest.approx(alpha, abs=2e-3)


def test_the_share_by_sigma_of_other_schedules():
    assert alpha_for([14.6, 7.0, 2.0, 0.5, 0.03, 0.0]) == 0.0  # no flow
    assert alpha_for([1.0, 0.3, 0.2, 0.1, 0.0]) < 0.05 and alpha_for([1.0, 0.9, 0.85, 0.81, 0.78]) == 0.0  # fast at first
    assert alpha_for([1.0, 1.0, 1.0]) == ALPHA == alpha_for([1.0, 0.0])
    assert blended(shifted(5, 8), 4) == blended(shifted(5, 8), 4, 0.469) == (0, 3, 5, 7) != blended(shifted(5, 8), 4, ALPHA)
    assert blended([14.6, 7.0, 2.0, 0.5, 0.03, 0.0], 3) == (0, 2, 4)


@pytest.mark.parametrize("computed", range(1, 6))
def test_first_and_last_are_computed_and_all_are_distinct(computed):
    for sigmas in (EVEN, LATE, [0.0, 0.1, 0.5, 0.9, 1.0, 1.0], [1.0] * 6):
        found = blended(sigmas, computed, 0.75)
        assert len(set(found)) == computed and found == tuple(sorted(found))
        assert found[0] == 0 and (computed < 3 or found[-1] == 4)


def test_gaps_shrink_towards_the_end():
    # 20 of shift 5, .469 by sigma: gaps of 4.73, 4.23, 3.58, 2.83, 2.09 and 1.54 evaluations; nearest places: 5 4 4 2 2 2.
    assert blended(shifted(5, 20), 7) == (0, 5, 9, 13, 16, 18, 19)
    assert blended(shifted(1, 20), 7) == (0, 4, 7, 10, 13, 16, 19)
    for shift, steps, computed in product((1, 3, 5, 8, 12), (8, 20, 40), (3, 4, 7)):
        gaps = [b - a for a, b in pairwise(blended(shifted(shift, steps), computed))]
        assert gaps == sorted(gaps, reverse=True) and sum(gaps) == steps - 1, (shift, steps, computed)


def test_bad_count_names_the_range():
    with pytest.raises(BadConfig, match=r"1\.\.5, got 6"):
        blended(EVEN, 6)


def test_a_gap_is_trusted_by_where_it_ends():
    sigmas, schedule = [1.0, 0.9, 0.8, 0.4, 0.0], (True, True, False, True)
    assert gap_trust(schedule, sigmas, 2, 6.0) == stable_trust(0.9, 0.4, 6.0) == 0.0 < gap_trust(schedule, sigmas, 2, 1.0)
    # Nothing is computed behind it: its last evaluation is at 0.4, and what leads from there to 0 nothing follows.
    assert gap_trust((True, False, False, False), sigmas, 1, 1.5) == pytest.approx(2 / (1.5 * log(2.5)) - 1)
    assert gap_trust((True, False, False), [1.0, 0.9, 0.8, 0.4], 1, 1.5) == stable_trust(1.0, 0.4, 1.5)  # more follows
    assert gap_trust((True,) * 7 + (False,), sigmas, 7, 1.0) == 0.0  # a sampler that calls more often than was thought


def test_a_still_start_is_evened_behind_its_first_gap_and_another_is_not():
    # shift 8; of 10 evaluations behind the second computed one, of which 6 are computed, alpha .9 leaves out the early ones
    sigmas = shifted(8, 12)
    schedule = tuple(step in (0, 2, 4, 6, 8, 9, 10, 11) for step in range(12))
    assert evened(sigmas, schedule, 2, 1.0) == schedule == evened(sigmas, schedule, 2, float("nan"))
    found = evened(sigmas, schedule, 2, 0.99)
    assert found[:3] == schedule[:3] and sum(found) == sum(schedule) and found[-1]
    assert [step - 2 for step, computed in enumerate(found) if computed][1:] == list(blended(sigmas[2:], 7, 0.9))
    assert evened(sigmas, schedule, 11, 0.0) == schedule  # none is left
    assert evened([10 * sigma for sigma in sigmas], schedule, 2, 0.0) == schedule  # no flow, and no rate of one
    three = tuple(step in (0, 7, 11) for step in range(12))
    assert evened(sigmas, three, 7, 0.0) == three  # the last one stays
