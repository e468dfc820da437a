"""The two dynamic programmes against hand arithmetic, brute force and a simulated sampler."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from synccache_core.decide.schedules import evened
from synccache_core.errors import BadConfig, BadInput
from synccache_core.model.cost import CostModel
from synccache_core.model.layout import Layout, even_groups
from synccache_core.planning import schedule as solving
from synccache_core.planning.__main__ import main
from synccache_core.planning.plan import Budget, RunFacts
from synccache_core.planning.planned import carried_over
from synccache_core.planning.planner import Planner
from synccache_core.planning.recipes import Recipe
from synccache_core.planning.recording import Recording, merge
from synccache_core.planning.saved import load_file
from synccache_core.planning.schedule import (
    Variant,
    adapted,
    predicted_error,
    remap,
    solve_segments,
    solve_steps,
)
from synccache_core.planning.trajectory import displacement, forecast_weights, interpolation, trajectory
from synccache_core.reuse.corrector import CORRECTOR_ANCHORS
from synccache_core.reuse.forecast import bounded_weights
from tests.conftest import ROOT

VARIANTS = [Variant("output", *v) for v in product((0, 1, 2), (False, True))]
LAYOUT = Layout(9, (0, 2, 5, 8))


def random_path(steps, size=12, seed=0):
    draw = np.random.default_rng(seed)
    sigmas = np.append(np.sort(draw.uniform(0.02, 1.0, steps))[::-1], 0.0)
    return sigmas, draw.normal(size=(steps, size)).cumsum(0)


def path_of(sigmas, outputs):
    return trajectory(outputs @ outputs.T, sigmas)


def forecast(outputs, anchors, at, gain=9.0):
    weights = bounded_weights(anchors, at, gain)
    return sum(w * outputs[a] for w, a in zip(weights, anchors[-len(weights) :]))


def euler(sigmas, velocity, schedule, order, correction, x=0.0):
    """x after every step where velocity(x, t) is computed at the steps of `schedule`, and what those gave."""
    outputs, gap, positions = {}, [], []
    for t, move in enumerate(np.diff(sigmas)):
        history = [a for a in schedule if a <= t]
        if t in schedule:
            used = outputs[t] = velocity(x, t)
            if correction:
                near = history[-min(order, 1) - 2 :]
                fixes = [(sigmas[g + 1] - sigmas[g]) * (forecast(outputs, near, g) - f) for g, f in gap]
                used = used + sum(fixes) / move
            gap = []
        else:
            used = forecast(outputs, history[-order - 1 :], t)
            gap.append((t, used))
        x = x + move * used
        positions.append(x)
    return positions, outputs


@pytest.fixture
def counting(monkeypatch):
    """counting(POWER=1.0, ...): what gaps count for."""
    return lambda **constants: [monkeypatch.setattr(solving, name, value) for name, value in constants.items()]


@pytest.fixture
def exact(counting):
    """Errors of gaps add up, and one that is corrected leaves nothing."""
    counting(POWER=1.0, TRANSIENT=0.0)


def brute_force(path, variant, count):
    """Least error of all schedules, each gap by its definition."""
    best = np.inf
    for rest in combinations(range(1, path.steps), count - 1):
        best = min(best, cost_of(path, (0, *rest), variant))
    return best


def cost_of(path, computed, variant):
    total = 0.0
    for position, (j, k) in enumerate(zip(computed, [*computed[1:], path.steps])):
        if k - j - 1 > solving.MAX_RUN:
            return np.inf
        history = computed[: position + 1]

        def size(anchors, gap=range(j + 1, k)):
            errors = [path.moves[t] * (forecast(path.y, anchors, t, solving.MAX_GAIN) - path.y[t]) for t in gap]
            return np.linalg.norm(sum(errors)) if errors else 0.0

        cost = size(history[-variant.order - 1 :])
        if variant.correction and k < path.steps:
            cost = solving.TRANSIENT * cost + size((*history[-min(variant.order, 1) - 1 :], k))
        total += cost**solving.POWER
    return total ** (1 / solving.POWER)


def test_order_0_by_hand(exact):
    # four steps of 0.25, outputs 0, 4, 4, 6 along one direction: the way is 0.25 * 14 = 3.5
    path = path_of(np.array([1.0, 0.75, 0.5, 0.25, 0.0]), np.array([[0.0], [4.0], [4.0], [6.0]]))
    got = solve_steps(path, Variant("output", 0))
    assert got.schedules == (None, (0,), (0, 1), (0, 1, 3), (0, 1, 2, 3))
    # reusing 0 everywhere misses all 14 quarters; from step 1 on, 4 4 4 for 4 4 6 misses 2
    assert got.errors[1:] * 3.5 == pytest.approx([3.5, 0.5, 0.0, 0.0], abs=1e-6)


def test_correction_by_hand(exact, counting):
    # outputs 0 1 2 of a line in steps: order 0 misses step 1 by 1 * 1/3, the line from 0 to 2 does not
    path = path_of(np.array([1.0, 2 / 3, 1 / 3, 0.0]), np.array([[0.0], [1.0], [2.0]]))
    plain = predicted_error(path, (0, 2), Variant("output", 0))
    assert plain == pytest.approx(1 / 3)  # of a displacement of (0 + 1 + 2) / 3 = 1
    corrected = Variant("output", 0, True)
    assert predicted_error(path, (0, 2), corrected) == pytest.approx(0.0, abs=1e-7)
    assert predicted_error(path, (0, 1), corrected) == pytest.approx(1 / 3)  # nothing after the last gap corrects it
    counting(TRANSIENT=0.5)
    assert predicted_error(path, (0, 2), corrected) == pytest.approx(1 / 6)


@pytest.mark.parametrize("gain", [1.0, 3.0, 9.0, 1e9])
def test_weights_are_the_run_time_s(gain):
    draw = np.random.default_rng(1)
    for count in (1, 2, 3):
        anchors, at = draw.uniform(size=(20, count)), draw.uniform(size=5)
        got = forecast_weights(anchors, at, gain)
        for row, own in zip(got, anchors):
            for weights, position in zip(row, at):
                want = bounded_weights(list(own), position, gain)
                assert weights == pytest.approx([0.0] * (count - len(want)) + want)
    padded = forecast_weights(np.array([1.0, 1.0, 0.9]), np.array([0.8]), 1e9)
    assert padded[0] == pytest.approx([0.0, -1.0, 2.0])


COUNTS = [{}, {"POWER": 1.0, "TRANSIENT": 0.0}, {"TRANSIENT": 1.0}, {"MAX_RUN": 2}, {"MAX_GAIN": 2.0, "POWER": 1.0}]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("constants", COUNTS, ids=str)
def test_steps_equal_brute_force(variant, constants, counting):
    counting(**constants)
    for steps in (1, 2, 3, 5, 8):
        path = path_of(*random_path(steps, seed=steps))
        got = solve_steps(path, variant)
        for count in range(1, steps + 1):
            assert got.errors[count] == pytest.approx(brute_force(path, variant, count), abs=1e-9)
            computed = got.schedules[count]
            if computed is None:
                assert np.isinf(got.errors[count])
                continue
            assert len(computed) == count and computed[0] == 0
            assert predicted_error(path, computed, variant) == pytest.approx(got.errors[count], abs=1e-12)


def test_equal_outputs_cost_nothing_anywhere():
    path = path_of(np.linspace(1, 0, 8), np.ones((7, 3)))
    for variant in VARIANTS:
        got = solve_steps(path, variant)
        assert got.errors[1:] == pytest.approx(0.0, abs=1e-9) and all(got.schedules[1:])


def test_a_single_step_and_a_single_segment():
    one = path_of(np.array([1.0, 0.0]), np.ones((1, 1)))
    for order in (0, 1, 2):
        assert solve_steps(one, Variant("output", order, True)).schedules[1] == (0,)
    alone = solve_segments(np.ones((2, 2)), Layout(2, (0, 1)))
    assert alone.groups[1] == ((1,),) and alone.best(1) == 1


@pytest.mark.parametrize("order", [1, 2])
def test_a_polynomial_trajectory_is_free(order, counting):
    counting(MAX_GAIN=1e9)
    sigmas, _ = random_path(12)
    slopes = np.random.default_rng(3).normal(size=(order + 1, 6))
    path = path_of(sigmas, np.vander(np.arange(12) / 12, order + 1) @ slopes)
    got = solve_steps(path, Variant("output", order))
    assert got.errors[order + 1 :] == pytest.approx(0.0, abs=1e-6)
    assert got.errors[order] > 1e-3


def gap_errors(path, schedule, variant):
    """What each gap of a schedule leaves in x, as vectors: (forecast gaps [.., r], corrected gaps [.., r'])."""
    left, corrected = [np.zeros(path.y.shape[1])], [np.zeros(path.y.shape[1])]
    for position, (j, k) in enumerate(zip(schedule, [*schedule[1:], path.steps])):
        history, at = schedule[: position + 1], np.arange(j + 1, k)
        closed = variant.correction and k < path.steps
        known = [*history[-min(variant.order + 1, CORRECTOR_ANCHORS) :], k] if closed else history[-variant.order - 1 :]
        weights = forecast_weights(np.array(known), at, solving.MAX_GAIN)
        off = path.moves[at, None] * (weights @ path.y[np.array(known)] - path.y[at])
        (corrected if closed else left).append(off.sum(0))
    return np.array(left), np.array(corrected)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_gap_errors_are_those_of_an_euler_run(variant):
    """Frozen dynamics: the sum of the gaps' vectors is the position error, also after a correction, to 1e-12."""
    sigmas, outputs = random_path(9, seed=5)
    path, length = path_of(sigmas, outputs), displacement(outputs @ outputs.T, sigmas)
    true, _ = euler(sigmas, lambda x, t: outputs[t], range(9), 0, False)
    for rest in combinations(range(1, 9), 3):
        schedule = (0, *rest)
        reused, corrected = gap_errors(path, schedule, variant)
        got, _ = euler(sigmas, lambda x, t: outputs[t], schedule, variant.order, variant.correction)
        want = np.linalg.norm(got[-1] - true[-1]) / length
        assert np.linalg.norm(reused.sum(0) + corrected.sum(0)) == pytest.approx(want, abs=1e-12)
        if variant.correction:  # and right behind the first computed step after a gap, nothing else stands
            first = gap_errors(path, schedule[:2], variant)[1].sum(0)
            error = np.linalg.norm(got[rest[0]] - true[rest[0]]) / length
            assert np.linalg.norm(first) == pytest.approx(error, abs=1e-12)


def mixture_flow(sigmas, size=64, modes=24, spread=0.15, seed=0):
    """Velocity of the flow from noise to a mixture of Gaussians, in closed form: dynamics that do depend on x."""
    draw = np.random.default_rng(seed)
    means = 0.7 * draw.normal(size=(modes, size))

    def velocity(x, t):
        sigma = sigmas[t]
        clean, variance = 1 - sigma, (1 - sigma) ** 2 * spread**2 + sigma**2
        away = x - clean * means
        logits = -(away**2).sum(1) / (2 * variance)
        odds = np.exp(logits - logits.max())
        return (x - odds / odds.sum() @ (means + clean * spread**2 / variance * away)) / sigma

    return velocity, draw.normal(size=size)


@pytest.mark.parametrize("shift", [8.0, 3.0])
def test_predictions_rank_the_errors_of_real_dynamics(shift):
    times = np.linspace(1, 0, 41)
    sigmas = shift * times / (1 + (shift - 1) * times)
    velocity, noise = mixture_flow(sigmas)
    true, outputs = euler(sigmas, velocity, range(40), 0, False, noise)
    path = path_of(sigmas, np.array(list(outputs.values())))
    predicted, measured = [], []
    for variant in VARIANTS:
        solution = solve_steps(path, variant)
        for count in (6, 8, 10, 12, 16):
            got, _ = euler(sigmas, velocity, solution.schedules[count], variant.order, variant.correction, noise)
            predicted.append(solution.errors[count])
            measured.append(np.linalg.norm(got[-1] - true[-1]) / np.linalg.norm(true[-1] - noise))
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
    assert np.corrcoef(ranks)[0, 1] >= 0.9
    assert 1 / 5 < np.median(np.array(predicted) / measured) < 5  # contracting dynamics forget errors


def test_a_residual_is_forecast_and_the_output_corrected(counting):
    counting(POWER=1.0, TRANSIENT=0.5)
    output, residual = path_of(*random_path(6, seed=1)), path_of(random_path(6, seed=1)[0], random_path(6, seed=2)[1])
    variant = Variant("residual", 1, True)
    got = predicted_error(residual, (0, 3), variant, output)
    plain = predicted_error(residual, (0, 3), replace(variant, correction=False))
    last = predicted_error(residual, (0, 3, 4, 5), replace(variant, correction=False))
    counting(TRANSIENT=0.0)
    interpolated = predicted_error(output, (0, 3, 4, 5), variant)
    assert got == pytest.approx(0.5 * last + interpolated + plain - last)


@pytest.mark.parametrize("kind", ["after", "inside"])
def test_segments_equal_brute_force(kind):
    for count in range(1, 8):
        layout = Layout(2 * count + 1, tuple(range(0, 2 * count, 2)), kind)
        drift = np.random.default_rng(count).normal(size=(count, 5))
        got, last = solve_segments(drift @ drift.T, layout), layout.segments
        for groups in range(1, layout.storable() + 1):
            best = np.inf
            for inner in combinations(range(2, last), groups - 1):
                bounds = [1, *inner, last]
                frozen = [drift[a : b - 1].sum(0) for a, b in zip(bounds, bounds[1:])]
                best = min(best, sum(map(np.linalg.norm, frozen)))
            assert got.costs[groups] == pytest.approx(best, abs=1e-6)
            assert sum(got.groups[groups], ()) == tuple(range(1, last)) and len(got.groups[groups]) == groups


def test_segments_by_hand():
    # refreshes 1 and 2 drift by 3 and 4 at right angles, refresh 3 hardly: merge 3 with its neighbour, keep the rest
    layout = Layout(9, (0, 2, 4, 6))
    got = solve_segments(np.diag([100.0, 9.0, 16.0, 0.01]), layout)
    assert got.costs[1:] == pytest.approx([np.sqrt(25.01), 3.0 + 0.1, 0.1, 0.0], abs=1e-6)
    assert got.groups[3] == ((1,), (2,), (3, 4)) and got.groups[2] == ((1, 2), (3, 4))
    assert got.groups[4] == even_groups(layout, 4) and got.groups[1] == even_groups(layout, 1)
    assert got.groups[0] == () and np.isinf(got.costs[0]) and got.best(4) == 4
    with pytest.raises(BadConfig, match="4 audio refreshes"):
        solve_segments(np.eye(3), layout)


def test_remap_keeps_the_share_and_the_sigmas():
    old = np.linspace(1, 0, 41)
    schedule = (0, 4, 8, 12, 16, 20, 28, 36)
    assert remap(schedule, old, old) == (schedule, "")
    same, note = remap(schedule, old, np.linspace(1, 0, 81)[::2] ** 1.1)
    assert len(same) == 8 and same[0] == 0 and "nearest sigma" in note
    for steps in (30, 50, 4, 1):
        new = np.linspace(1, 0, steps + 1)
        got, note = remap(schedule, old, new)
        assert got[0] == 0 and list(got) == sorted(set(got)) and got[-1] < steps
        assert len(got) == min(steps, max(2, round(8 * steps / 40))) and f"of {steps}" in note
    assert remap((0,), old, np.linspace(1, 0, 5))[0] == (0,)
    # a run that starts at 0.5: of its 4 steps the first is at 0.5 and the last at 0.1, thirds of the way between them
    late, _ = remap(schedule, old, np.linspace(0.5, 0, 21))
    assert late == (0, 5, 11, 16)
    doubled, _ = remap((0, 2), [1.0, 0.8, 0.5, 0.2, 0.0], [1.0, 0.8, 0.8, 0.5, 0.5, 0.2, 0.2, 0.0])
    assert doubled[0] == 0 and len(doubled) == 4  # Heun: 7 evaluations


def recording(seed=0, steps=10, human=True, audio=True, shares=None):
    sigmas, outputs = random_path(steps, seed=7)  # the same sigmas for every seed
    draw = np.random.default_rng(seed)
    grams = {("output", "whole"): outputs @ outputs.T}
    tracks = [("residual", "whole")] + [("output", "human"), ("residual", "human")] * human
    for track in tracks:
        values = outputs + draw.normal(size=outputs.shape)
        grams[track] = values @ values.T
    drift = 0.1 * draw.normal(size=(4, 3))
    run = RunFacts(steps, tuple(sigmas.tolist()), "euler", 4.5)
    cost = CostModel(10.0, 1.0, 2.0, LAYOUT)
    return Recording("toy", run, cost, grams, drift @ drift.T if audio else None, 1000, 100, shares or {})


def test_a_recording_survives_json(tmp_path):
    given = recording(shares={"residual": 0.2})
    path = tmp_path / "calibration.json"
    path.write_text(given.to_json())
    got = load_file(Recording, path)
    assert got.to_json() == given.to_json() and got.layout == LAYOUT
    for (track, gram), other in zip(given.grams.items(), got.grams):
        assert track == other and np.array_equal(gram, got.grams[other])


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"adapter": "toy"', '"adapter": ""', "adapter must be text"),
        ('"cost": {"block": 10.0', '"cost": {"block": -1', "cost.block must be"),
        ('"cost": {"block": 10.0', '"cost": {"block": 10.0, "probe": "x"', "cost.probe must be .* or null, got 'x'"),
        ('"cost": {"block": 10.0', '"cost": {"block": 10.0, "probe": -1e9', "cost.probe must be"),
        ('"cost": {"block": 10.0', '"cost": {"block": 10.0, "probe": {}', "cost.probe must be"),
        ('"cost": {"block": 10.0', '"cost": {"block": 10.0, "steps": 1', "cost must be an object with block, other"),
        ('"blocks": 9', '"blocks": 9, "probe": 1', "layout must be an object with audio, blocks, refresh"),
        ('"blocks": 9', '"blocks": 9, "keys": 0', "layout must be an object with audio, blocks, refresh"),
        ('"blocks": 9', '"blocks": 3', "refresh points must rise"),
        ('"blocks": 9', '"blocks": 1e9', "layout.blocks must be a whole number"),
        ('"output/whole"', '"sound/whole"', "grams must hold sound|level must be one of|level output"),
        ('"count": 1', '"count": 1, "extra": 2', "unknown field 'extra'"),
        ('"version": 1', '"version": 9', "version 1"),
        ('"steps": 10', '"steps": 11', "run.sigmas must hold"),
        ('"audio": [[', '"audio": [[NaN, ', "NaN"),
        ('"audio": [[', '"audio": [[1, ', "square list"),
        ('"shares": {}', '"shares": {"output": 2}', "shares.output must be"),
        ('"shares": {}', '"shares": {"sound": 0.5}', "level must be one of"),
    ],
)
def test_a_bad_recording_is_refused(tmp_path, old, new, message):
    text = recording().to_json()
    assert old in text
    path = tmp_path / "bad.json"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput, match=message) as caught:
        load_file(Recording, path)
    assert "bad.json" in str(caught.value)


def test_what_is_no_gram_is_refused():
    good = recording()
    for bad in (-np.eye(10), np.full((10, 10), np.nan), np.triu(np.ones((10, 10))), np.eye(9)):
        with pytest.raises(BadInput, match="grams of output/whole"):
            replace(good, grams={("output", "whole"): bad})
    with pytest.raises(BadConfig, match="does not move"):
        trajectory(np.zeros((2, 2)), np.array([1.0, 0.5, 0.0]))
    with pytest.raises(BadInput, match="strictly falling"):
        replace(good, run=replace(good.run, sigmas=(1.0, 1.0, *good.run.sigmas[2:])))
    with pytest.raises(BadConfig, match="order"):
        solve_steps(good.trajectory("output"), Variant("output", 3))


def test_merging_averages_what_each_clip_is_relative_to():
    one, two = recording(0), recording(1)
    louder = replace(two, grams={track: 1e6 * gram for track, gram in two.grams.items()})
    got, same = merge([one, louder]), merge([one, two])
    track = ("residual", "human")
    assert got.count == 2 and np.allclose(got.grams[track], same.grams[track])
    sigmas = np.array(one.run.sigmas)
    units = [r.grams[track] / displacement(r.grams[track], sigmas) ** 2 for r in (one, two)]
    assert np.allclose(got.grams[track], sum(units) / 2)
    assert np.allclose(merge([got, one]).grams[track], (2 * sum(units) / 2 + units[0]) / 3)
    assert merge([replace(one, shares={"residual": 0.1}), replace(one, shares={"residual": 0.3})]).shares["residual"] == 0.2
    with pytest.raises(BadInput, match="'toy' and 'other'"):
        merge([one, replace(one, adapter="other")])
    with pytest.raises(BadInput, match="different tracks"):
        merge([one, recording(human=False)])
    with pytest.raises(BadInput, match="no calibration"):
        merge([])


def test_interpolation_follows_parabolas_also_beyond_the_ends():
    sigmas, wanted = np.array([1.0, 0.8, 0.5, 0.3, 0.2]), np.array([1.1, 1.0, 0.9, 0.4, 0.2, 0.1])
    curve = 3 * sigmas**2 - 2 * sigmas + 1
    assert interpolation(sigmas, wanted) @ curve == pytest.approx(3 * wanted**2 - 2 * wanted + 1)
    kept = interpolation(sigmas, wanted)
    assert (kept[1], kept[4]) == (pytest.approx([1, 0, 0, 0, 0]), pytest.approx([0, 0, 0, 0, 1]))
    assert kept[3] == pytest.approx([0, -1 / 15, 2 / 3, 2 / 5, 0])  # by hand: from 0.8, 0.5 and 0.3
    assert interpolation(np.array([1.0, 0.5]), np.array([0.75])) == pytest.approx(np.array([[0.5, 0.5]]))
    assert interpolation(np.array([1.0]), np.array([0.75, 0.1])) == pytest.approx(np.ones((2, 1)))


def test_a_plan_is_planned_anew_from_its_sketch(monkeypatch):
    planner, sigmas = Planner(recording()), np.linspace(1.0, 0.0, 8)
    plan = planner.plan(planner.make(Recipe(Variant("output", 1)), 6), Budget(computed=6), "0")
    schedule, note = carried_over(plan, sigmas)
    assert "planned anew, 4 of 7 are computed" in note
    y = interpolation(np.array(plan.run.sigmas)[:-1], sigmas[:-1]) @ planner.recording.trajectory("output", 0.75).y
    assert schedule == solve_steps(trajectory(y @ y.T, sigmas), Variant("output", 1)).schedules[4]
    assert carried_over(plan, plan.run.sigmas) == (plan.schedule, "")
    assert "nearest sigmas" in carried_over(replace(plan, sketch=()), sigmas)[1]
    assert "nearest sigmas" in carried_over(plan, np.linspace(1.0, 0.0, 21))[1]  # too little is known between recorded steps
    path = trajectory(y @ y.T, sigmas)
    nearest = remap(plan.schedule, plan.run.sigmas, sigmas)[0]
    promised = predicted_error(path, schedule, Variant("output", 1)) / predicted_error(path, nearest, Variant("output", 1))
    for most, expected in ((promised * 1.01, schedule), (promised * 0.99, nearest)):
        monkeypatch.setattr("synccache_core.planning.planned.PROMISE", most)
        assert carried_over(plan, sigmas)[0] == expected


def test_human_weight_counts_the_region():
    given = recording()
    grams = {("output", "whole"): given.grams["output", "whole"], ("output", "human"): given.grams["residual", "human"]}
    given, variant = replace(given, grams=grams), Variant()
    errors = [predicted_error(given.trajectory("output", weight), (0, 4), variant) for weight in (0.0, 0.5, 1.0)]
    sigmas = np.array(given.run.sigmas)
    assert errors[0] == pytest.approx(predicted_error(trajectory(grams["output", "whole"], sigmas), (0, 4), variant))
    assert errors[2] == pytest.approx(predicted_error(trajectory(grams["output", "human"], sigmas), (0, 4), variant))
    assert min(errors[0], errors[2]) < errors[1] < max(errors[0], errors[2])


def test_the_command_prints_the_table_and_writes_the_plan(tmp_path, capsys):
    path, out = tmp_path / "calibration.json", tmp_path / "rows.json"
    path.write_text(recording().to_json())
    assert main([str(path), "--speedup", "2.5", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "computed_steps" in text and "plan: " in text and "predicted: " in text
    assert '"speedup_x"' in out.read_text() and '"synccache-plan"' in out.read_text()
    assert main([str(tmp_path / "missing.json")]) == 1
    assert "missing.json" in capsys.readouterr().err


def test_the_command_runs_without_a_warning():
    command = [sys.executable, "-W", "error", "-m", "synccache_core.planning", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--speedup" in done.stdout and done.stderr == ""


def test_a_preset_s_schedule_is_evened_by_the_recording():
    """Outputs of size 1 and then 1.01 at steps .04 of sigma away: .25 of itself per unit; and 1.2: 4.2 times."""
    sigmas = np.array([1.0, 0.96, 0.92, 0.85, 0.75, 0.6, 0.4, 0.2, 0.0])
    for second, rate in ((1.01, 0.01 / 1.01 / 0.04), (1.2, 0.2 / 1.2 / 0.04)):
        path = path_of(sigmas, np.array([[1.0], [second], *[[1.0]] * 6]))
        mask = tuple(step in (0, 1, 3, 4, 6, 7) for step in range(8))
        want = evened(sigmas, mask, 1, rate)
        assert adapted((0, 1, 3, 4, 6, 7), path) == tuple(step for step in range(8) if want[step])
        assert (want == mask) == (second == 1.2)
    assert adapted((0,), path) == (0,)
