"""Which plan is chosen: sizes and speeds by hand, what replays say, and how far it may be carried."""

import math
from dataclasses import replace

import pytest

from synccache_core.config import MAX_ORDER
from synccache_core.decide.schedules import alpha_for, blended
from synccache_core.errors import BadConfig
from synccache_core.model.cost import CostModel
from synccache_core.model.layout import Layout
from synccache_core.planning.plan import Budget, Scores
from synccache_core.planning.planner import Planner
from synccache_core.planning.recipes import STILL, Recipe, Tried, default, every, fallback, rounds, telling
from synccache_core.planning.recording import merge
from synccache_core.planning.remarks import DOUBT, FAR, NO_GAIN
from synccache_core.planning.schedule import Variant, predicted_error
from tests.core.test_schedule import recording

BUDGET = Budget(computed=4, cache_ratio=1.0)
ALPHA = alpha_for(recording().run.sigmas)
LINE = Recipe(Variant("output", 1))
FIXED = Recipe(Variant("output", 1, True))
SPREAD = Recipe(Variant("output", 1, True), ALPHA, backtest=True)
RESIDUAL = Recipe(Variant("residual", 1, True))
FEWER = Recipe(STILL, None, "plain")


def tried(given, recipe, error, budget=BUDGET, computed=None, speedup=2.0):
    """A plan of a recipe whose replay was off by `error`."""
    planner = Planner(replace(given, replays=()))
    plan = planner.plan(planner.make(recipe, computed or budget.computed), budget, "0")
    return replace(plan, measured=Scores(error, speedup, plan.predicted.bytes))


def replayed(errors, given=None, budget=BUDGET, computed=None):
    given = given or recording()
    return replace(given, replays=tuple(tried(given, r, e, budget, computed) for r, e in errors.items()))


def chosen(given, budget=BUDGET, **settings):
    return Planner(given, **settings).choose(budget)


def test_the_kind_that_did_best_is_chosen_and_its_error_is_the_measured_one():
    errors = {SPREAD: 0.2, FEWER: 0.05, LINE: 0.3, FIXED: 0.1}
    for best in errors:
        got = chosen(replayed({**errors, best: 0.01}))
        assert got.recipe == best and got.error == pytest.approx(0.01)
        assert DOUBT["replayed"].format(clips="one clip") in got.notes and got.basis == "replayed"


def test_what_was_not_tried_is_not_preferred():
    given = replayed({FIXED: 0.4})
    planner = Planner(given)
    assert min(planner.make(recipe, 4).error for recipe in planner.recipes) < 0.4 and chosen(given).recipe == FIXED


def test_without_replays_outputs_are_forecast_by_a_line_and_corrected():
    assert chosen(recording()).recipe == FIXED == fallback(recording())
    assert chosen(recording()).notes == (DOUBT["guessed"],) or FAR <= chosen(recording()).error
    no_correction = replace(recording(), run=replace(recording().run, sampler="er_sde"))
    assert chosen(no_correction).recipe == Recipe(Variant("output", 0))
    inside = replace(recording(), run=replace(recording().run, sampler="euler_cfg_pp"))
    assert chosen(inside).variant.level == "residual"


def test_the_kind_is_carried_within_a_factor_of_two_of_the_steps():
    given = replayed({SPREAD: 0.2, LINE: 0.02, FIXED: 0.1})
    for computed in (2, 3, 5, 8):
        got = chosen(given, Budget(computed=computed))
        assert got.recipe == LINE and got.basis == "carried" and DOUBT["carried"] in got.notes
        assert got.error == pytest.approx(Planner(given).make(LINE, computed).error * given.replays[1].measured.error
                                          / given.replays[1].predicted.error)  # fmt: skip
    for computed in (1, 9):
        got = chosen(given, Budget(computed=computed))
        assert got.recipe == FIXED and got.basis == "guessed"
        assert got.error == pytest.approx(Planner(given).make(FIXED, computed).error)


def test_of_equals_what_extrapolates_least_is_taken():
    for budget in (BUDGET, Budget(computed=3)):
        assert chosen(replayed({FIXED: 0.1, LINE: 0.11, FEWER: 0.12, SPREAD: 0.3}), budget).recipe == FEWER
        assert chosen(replayed({FIXED: 0.1, FEWER: 0.13}), budget).recipe == FIXED
    # not where that is not clearly nearer than the preset
    assert chosen(replayed({FIXED: 0.1, FEWER: 0.12, SPREAD: 0.14})).recipe == FIXED


def test_a_hopeless_replay_says_nothing_elsewhere():
    given = replayed({SPREAD: 1.3, LINE: 0.9, FIXED: 1.1})
    assert chosen(given).recipe == LINE  # at that very cost it is the best that was seen
    elsewhere = chosen(given, Budget(computed=7))
    assert elsewhere.recipe == FIXED and elsewhere.basis == "guessed"
    assert elsewhere.error == pytest.approx(Planner(given).make(FIXED, 7).error)
    mixed = replayed({LINE: 0.9, RESIDUAL: 0.4})
    assert chosen(mixed, Budget(computed=7)).recipe == RESIDUAL


def test_ratios_by_hand():
    good = Tried(8, 0.1, 0.02)
    assert good.ratio == pytest.approx(5.0)
    assert [good.tells(n) for n in (3, 4, 8, 16, 17)] == [False, True, True, True, False]
    hopeless = Tried(8, 0.9, 0.8)
    assert [hopeless.tells(n) for n in (7, 8, 9)] == [False, True, False] == [hopeless.scales(n) for n in (7, 8, 9)]
    doubtful = Tried(8, 0.3, 0.8)  # what was thought hopeless and was not: it may be trusted, its ratio may not
    assert doubtful.tells(9) and not doubtful.scales(9) and doubtful.scales(8)


def test_correction_and_its_absence_are_never_confused():
    given = replayed({LINE: 0.001})
    assert chosen(given, recipes=[FIXED]).error == pytest.approx(Planner(given).make(FIXED, 4).error)
    assert chosen(given, recipes=[FIXED]).basis == "guessed"


def test_only_what_was_asked_for_alike_is_compared():
    near, far = Budget(computed=4, cache_ratio=1.0), Budget(computed=6, cache_ratio=1.0)
    given = recording()
    given = replace(given, replays=(tried(given, LINE, 0.2, near), tried(given, FIXED, 0.05, far)))
    assert chosen(given, near).recipe == LINE and chosen(given, far).recipe == FIXED
    assert chosen(given, Budget(computed=3)).recipe == LINE and chosen(given, Budget(computed=7)).recipe == FIXED
    asked = rounds(given.replays, Budget(speedup=10 / 6))
    assert [set(found) for found in asked] == [{FIXED}, {LINE}] and rounds((), near) == []


def test_the_default_preset_is_kept_where_calibrating_gains_nothing():
    mine = default(recording(), BUDGET)
    kept = chosen(replayed({mine: 0.13, LINE: 0.1}))
    assert kept.recipe == mine and NO_GAIN in kept.notes
    left = chosen(replayed({mine: 0.134, LINE: 0.1}))
    assert left.recipe == LINE and NO_GAIN not in left.notes


def test_replays_that_leave_out_the_preset_say_less_than_others_that_do_not():
    near, far = Budget(computed=4, cache_ratio=1.0), Budget(computed=5, cache_ratio=1.0)
    given = recording()
    there = (tried(given, SPREAD, 0.12, far), tried(given, LINE, 0.11, far))
    given = replace(given, replays=(tried(given, LINE, 0.2, near), *there))
    assert default(given, near) == SPREAD and chosen(given, near).recipe == SPREAD and chosen(given, near).basis == "carried"
    given = replace(given, replays=given.replays[:1])
    assert chosen(given, near).recipe == LINE


def test_the_presets_level_follows_the_speed():
    given = recording()  # a reused step costs a sixth of a computed one
    levels = {speed: default(given, Budget(speedup=speed)).variant.level for speed in (1.0, 1.5, 3.0)}
    assert levels == {1.0: "residual", 1.5: "residual", 3.0: "output"}
    assert default(given, Budget(computed=1)).variant.level == "output"


def test_replays_of_several_clips_are_averaged():
    one, two = recording(0), recording(1)
    one, two = replayed({LINE: 0.4, FIXED: 0.3}, one), replayed({LINE: 0.1, FIXED: 0.3}, two)
    both = merge([one, two])
    got = chosen(both)
    assert got.recipe == LINE
    ratio = math.sqrt(0.4 * 0.1 / one.replays[0].predicted.error / two.replays[0].predicted.error)
    assert got.error == pytest.approx(ratio * Planner(both).make(LINE, 4).error)
    assert DOUBT["replayed"].format(clips="2 clips") in got.notes
    assert chosen(merge([one, two] * 3)).notes == tuple(note for note in got.notes if "clips" not in note)


def test_what_one_clip_gains_and_another_loses_is_not_taken():
    # geometric means 0.0385 and 0.0265: 3.2 dB nearer, by one clip alone
    first, second = recording(0), recording(1)

    def both(*line):
        pairs = zip((first, second), (0.027, 0.055), line)
        return chosen(merge([replayed({SPREAD: mine, LINE: other}, given) for given, mine, other in pairs]))

    disagreed = both(0.054, 0.013)
    assert disagreed.recipe == SPREAD and NO_GAIN in disagreed.notes
    assert both(0.026, 0.027).recipe == LINE
    assert both(0.027 * 1.25, 0.02).recipe == LINE  # as good as level on the first
    # what was tried on one clip only is judged by its mean
    one = merge([replayed({SPREAD: 0.2, LINE: 0.1}, first), replayed({SPREAD: 0.05}, second)])
    assert chosen(one).recipe == SPREAD
    assert chosen(merge([replayed({SPREAD: 0.2, LINE: 0.04}, first), replayed({SPREAD: 0.05}, second)])).recipe == LINE


def test_a_fixed_list_is_tried_whatever_a_clock_says():
    given = recording()
    other = Recipe(RESIDUAL.variant, ALPHA, backtest=True)
    wanted, found = [default(given, BUDGET), FEWER, FIXED, other, RESIDUAL], telling(given, BUDGET)
    assert found[:5] == wanted and len(set(found)) == len(found) and wanted[0] == SPREAD
    plans = [(c.recipe, c.schedule) for c in Planner(given).trials(BUDGET, 5)]
    assert [recipe for recipe, _ in plans] == wanted
    for slow in ({}, {"residual": 0.9}, {"residual": 0.01}):
        clocked = replace(given, shares=slow)
        clocked = replace(clocked, replays=(tried(clocked, LINE, 0.1, speedup=1.01),))
        assert [(c.recipe, c.schedule) for c in Planner(clocked).trials(BUDGET, 5)] == plans
        assert chosen(clocked, Budget(speedup=2.0)).schedule == chosen(replayed({LINE: 0.1}), Budget(speedup=2.0)).schedule
    plans = Planner(given).trials(BUDGET, 12)
    assert len({(c.schedule, c.variant, c.recipe.kind, c.recipe.backtest) for c in plans}) == len(plans)
    assert Planner(given).trials(BUDGET, 0) == []


def test_parabolas_are_left_to_those_who_ask():
    given = replayed({Recipe(Variant("output", 2, True), ALPHA): 0.001, LINE: 0.1})  # of an older calibration
    assert {recipe.variant.order for recipe in [*Planner(given).recipes, *telling(given, BUDGET)]} == {0, 1}
    assert chosen(given).recipe == LINE
    assert chosen(given, recipes=every(given, ("output",), (2,), (True,))).variant.order == 2


def test_what_seconds_say_is_said():
    slow = replace(recording(), shares={"residual": 0.6})
    got = chosen(slow, Budget(speedup=2.0), recipes=[Recipe(Variant("residual", 1))])
    assert "2.0x by operation count, about 1.3x by the seconds of the calibration" in " ".join(got.notes)


def test_a_recipe_makes_a_plan_at_any_cost():
    planner = Planner(recording())
    for computed in (1, 4, 9, 10):
        assert planner.make(SPREAD, computed).schedule == blended(planner.recording.run.sigmas, computed, ALPHA)
        for recipe in (LINE, FIXED, RESIDUAL, FEWER):
            made = planner.make(recipe, computed)
            assert made.schedule == planner.solve(recipe.variant).schedules[computed]
    output = planner.recording.trajectory("output", 0.75)
    spread = planner.make(SPREAD, 4)
    assert spread.error == pytest.approx(predicted_error(output, spread.schedule, SPREAD.variant))
    assert math.hypot(*planner.gaps(spread)) == pytest.approx(spread.step_error)
    with pytest.raises(BadConfig, match="in 1..10, got 11"):
        planner.make(LINE, 11)
    with pytest.raises(BadConfig, match="1 computed steps are too few"):
        Planner(recording(steps=40)).make(LINE, 1)


def test_a_plain_plan_costs_its_steps_and_no_memory():
    planner = Planner(replayed({FEWER: 0.01}))
    choice = planner.choose(BUDGET)
    plan = planner.plan(choice, BUDGET, "0")
    assert plan.plain and plan.alpha is None and choice.bytes == 0 and choice.speedup == pytest.approx(10 / 4)
    sigmas = planner.recording.run.sigmas
    assert plan.own_sigmas == (*(sigmas[step] for step in plan.schedule), sigmas[-1]) and len(plan.own_sigmas) == 5
    assert plan.measured == planner.recording.replays[0].measured


def test_a_sampler_and_settings_narrow_what_may_be_chosen():
    given = recording()
    kinds = every(given, ("output",), (0, 2), (True,))
    assert {r.variant for r in kinds} == {Variant("output", 0, True), Variant("output", 2, True)}
    used = replace(given, run=replace(given.run, sampler="res_multistep"))
    assert {r.variant.correction for r in every(used, ("residual",), (1,), (False, True))} == {False}
    found = Planner(given, recipes=every(given, ("residual",), range(MAX_ORDER + 1), (False, True)))
    assert found.choose(BUDGET).recipe == Recipe(Variant("residual", 1, True))


def test_choices_keep_to_the_budget():
    planner = Planner(recording())
    assert planner.choose(Budget(computed=4)).computed == 4
    fast = planner.choose(Budget(speedup=2.5))
    assert fast.speedup == pytest.approx(2.5, rel=0.1)
    for most in (200, 1500, 3000, 10_000):
        assert planner.choose(Budget(computed=4, bytes=most)).bytes <= most
    assert planner.choose(Budget(computed=4, bytes=0)).plain
    outputs = Planner(recording(), recipes=every(recording(), ("output", "residual"), (0, 1), (False, True)))
    with pytest.raises(BadConfig, match="99 bytes are too few: the smallest plan takes 100 bytes"):
        outputs.choose(Budget(computed=4, bytes=99))
    far = Planner(recording(), recipes=[RESIDUAL]).choose(Budget(speedup=50.0))
    assert "out of reach" in far.notes[0] and far.computed == 2  # as of a preset


def test_a_large_predicted_error_is_said():
    for computed in range(1, 11):
        choice = chosen(recording(), Budget(computed=computed))
        assert [note for note in choice.notes if "will show" in note] == [
            f"a predicted error of {choice.error:.2%} will show: ask for less speed, or take more steps"
        ] * (choice.error >= FAR)
    errors = [chosen(recording(), Budget(computed=computed)).error for computed in (1, 10)]
    assert errors[0] > FAR > errors[1]


def test_speed_and_bytes_by_hand():
    given = recording()
    # nine blocks of 10, four refreshes of 1, 2 for the rest: 96; reused with probe 10 + 4 + 2
    assert given.reuse_share("residual", 3) == pytest.approx(16 / 96) == given.reuse_share("residual", 1)
    inside = CostModel(10.0, 1.0, 2.0, Layout(9, (0, 2, 5, 7), "inside"))
    frozen, stored = inside.share("residual", 1, "freeze", True), inside.layout.storable()
    assert frozen == pytest.approx((16 - (stored - 1)) / 96)
    assert given.reuse_share("output", 0) == 0.0
    assert given.bytes("residual", 3, 1, False) == 6000 and given.bytes("residual", 3, 2, True) == 9300
    assert given.bytes("output", 0, 1, True) == 300
    found = Planner(given).make(Recipe(Variant("residual", 1)), 4)
    assert found.speedup == pytest.approx(10 / (4 + 6 / 6)) and found.bytes == 6000 and found.staleness == 0.0


def test_the_front_gets_better_as_it_gets_slower():
    for given in (recording(), replayed({SPREAD: 0.02, RESIDUAL: 0.05})):
        front = Planner(given).front(Budget(speedup=3.0, cache_ratio=1.0))
        speeds, errors = [c.speedup for c in front], [c.error for c in front]
        assert speeds == sorted(speeds, reverse=True) and errors == sorted(errors, reverse=True) and len(front) > 5
        for choice in front:
            again = Planner(given).choose(Budget(speedup=choice.speedup, cache_ratio=1.0))
            assert (again.schedule, again.recipe) == (choice.schedule, choice.recipe)


def test_without_recorded_audio_groups_are_of_even_size():
    got = Planner(recording(audio=False)).segmentation
    assert [len(group) for group in got.groups[2]] in ([1, 2], [2, 1]) and got.costs[1:] == pytest.approx(0.0)
