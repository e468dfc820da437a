"""LIVE evaluations: which tokens are live, by hand; what they cost; where they lie; who is told where there are none."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from demo.live_toys import toy_live_case, toy_packed_case
from demo.toys import toy_case
from synccache_core import BadConfig, BadMask, Config, CostModel, Grid, Layout, Sampler, View
from synccache_core.contract import checks, live_checks
from synccache_core.contract.case import assert_close, running, sample, watched
from synccache_core.decide.clock import Clock
from synccache_core.decide.policy import live_schedule
from synccache_core.decide.schedules import filled
from synccache_core.model.adapters.wan_block import each, rotated
from synccache_core.model.cost import cache_bytes
from synccache_core.planning.planned import settings_of
from synccache_core.report.report import RunReport
from synccache_core.reuse.depths import Depths, Packed
from synccache_core.reuse.live import LiveRows, beside, live_tokens
from synccache_core.reuse.parts import Regions
from synccache_core.reuse.residuals import Residuals
from synccache_core.run.call import Call
from synccache_core.run.steps import Steps

GRID = Grid(1, 3, 4)
EVENLY = [1 - step / 12 for step in range(13)]


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def spot(value=1.0, height=3, width=4):
    """A mask that covers the token in the second row, first column."""
    mask = torch.zeros(1, height, width)
    mask[:, 1, 0] = value
    return mask


def test_live_tokens_by_hand():
    assert live_tokens(spot(), GRID, reach=0).int().tolist() == [[[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]]
    assert live_tokens(spot(), GRID).int().tolist() == [[[1, 1, 0, 0]] * 3]


@pytest.mark.parametrize(("value", "live"), [(0.04, 0), (0.06, 6), (1.0, 6)])
def test_soft_edges_are_rounded_up(value, live):
    assert live_tokens(spot(value), GRID).sum() == live


def test_a_mask_of_a_video_is_live_where_it_is_in_each_frame():
    mask = torch.cat([spot(), torch.zeros(1, 3, 4)])
    assert live_tokens(mask, Grid(2, 3, 4), reach=0).sum(dim=(1, 2)).tolist() == [1, 0]


def test_rows_beside_the_video_are_live_and_known_by_their_places():
    rows, rest = LiveRows(spot(), reach=0).rows(GRID, View(12, front=2), torch.zeros(1, 17, 1))
    assert rows.index.tolist() == [0, 1, 6, 14, 15, 16] and rows.video == 1
    assert rest.index.tolist() == [2, 3, 4, 5, *range(7, 14)] and rest.video == len(rest) == 11
    assert LiveRows(spot(), reach=0).share(GRID, 17) == pytest.approx(6 / 17)


def test_what_stands_beside_the_video_and_the_video():
    others, video = beside(View(3, front=2), torch.zeros(1, 6, 1))
    assert others.index.tolist() == [0, 1, 5] and video.index.tolist() == [2, 3, 4]
    assert (others.video, video.video) == (0, 3) and others.at.tolist() == [0, 1, 5]


def test_live_is_not_for_models_whose_sound_is_beside():
    with running(toy_packed_case(), spot(height=2), live=True) as session:
        assert session.report.notes == ["live has no effect: this model's audio is not between its blocks"]


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_regions_of_a_latent_come_apart_and_together(size):
    live = LiveRows(spot(), reach=0)
    live.fit_mask(GRID)
    values = torch.arange(2.0 * size[0] * size[1]).reshape(1, 2, 1, *size)
    parts = Regions(live)
    inside, outside = parts.split(values)
    assert inside.shape == (1, 2, 4) and inside[0, 0].tolist() == values[0, 0, 0, 2:4, :2].flatten().tolist()
    assert inside.shape[2] + outside.shape[2] == size[0] * size[1]
    assert torch.equal(parts.join([inside, outside]), values)


def test_a_live_step_costs_by_hand():
    # 4 blocks of 100 and 2 x 10 of audio, 10 besides: 430. Half of the rows, of whose rest a block makes 20 of keys:
    # 4 x (50 + 10) + 30 = 270; with the probe computed 100 + 3 x 60 + 30 = 310
    cost = CostModel(100.0, 10.0, 10.0, Layout(4, (0, 3)), keys=20.0)
    assert cost.live_share(0.5, probe=False) == pytest.approx(270 / 430)
    assert cost.live_share(0.5, probe=True) == pytest.approx(310 / 430)
    assert cost.live_share(1.0, probe=True) == 1.0


def test_a_schedule_of_three_actions_spends_what_the_speed_allows():
    for live in (0.2, 0.5, 0.9):
        computed, lived = live_schedule(Config(live=True, alpha=0.0), EVENLY, 2.0, 0.0, live)
        assert len(computed) == len(lived) == 12 and computed[0] and computed[-1]
        assert not any(c and half for c, half in zip(computed, lived))
        spent = sum(computed) + live * sum(lived)
        assert spent <= 6 and (spent > 6 - live or sum(computed) + sum(lived) == 12)


def test_a_schedule_by_hand():
    """6 of 12 may be spent: 0.7 of them, 4, on computed ones, and of the 2 that are left 4 LIVE ones at a half."""
    computed, lived = live_schedule(Config(live=True, alpha=0.0), EVENLY, 2.0, 0.0, 0.5)
    assert [step for step in range(12) if computed[step]] == [0, 4, 8, 11]
    assert [step for step in range(12) if lived[step]] == [1, 2, 6, 9]


def test_a_speed_that_leaves_too_few_computed_steps_has_no_live_ones():
    """A quarter of all evaluations are computed before any is LIVE."""
    assert [sum(each) for each in live_schedule(Config(live=True), EVENLY, 4.0, 0.0, 0.2)] == [3, 0]
    case, mask = toy_live_case(), torch.zeros(1, 2, 3)
    mask[:, 0, 0] = 1
    with running(case, mask, target_speedup=4.0, live=True) as session:
        sample(case, session)
    assert session.report.lived == 0
    assert "no step is live: 4× leaves nothing beside the computed ones" in session.report.notes


def test_gaps_are_filled_at_their_middle_the_widest_first():
    assert filled(EVENLY, (0, 4, 11), 2, alpha=0.0) == (2, 7) and filled(EVENLY, (0, 4, 11), 1, alpha=0.0) == (7,)
    assert filled(EVENLY, (0, 1, 2), 5) == () and filled(EVENLY, (0, 3), 5) == (1, 2)
    assert filled([1.0, 0.9, 0.8, 0.2, 0.1, 0.0], (0, 4), 1, alpha=1.0) == (2,)  # 0.8 and 0.2 are as near to the middle


def test_where_live_costs_as_much_as_reuse_every_other_step_is_live():
    computed, lived = live_schedule(Config(live=True), EVENLY, 3.0, 0.1, 0.1)
    assert sum(computed) + sum(lived) == 12


def test_outputs_of_a_run_of_three_actions():
    """Order 0: what is live takes the newest output of a computed or LIVE evaluation, the rest that of a computed one."""
    case, given, made, mask = toy_live_case(), [], [], torch.zeros(1, 2, 3)
    mask[:, 0, :2] = 1
    settings = {"schedule": (True, False, False, False, True), "live": (False, False, True, False, False)}
    with running(case, mask, **settings, level="output", live_reach=0) as session:
        x, audio = case.tensors(0)

        def run(sigma):
            made.append(case.call(case.model, x + sigma, sigma, audio).mT.reshape(1, 8, 1, 2, 3))
            return made[-1].clone()

        for sigma in case.sigmas[:5]:
            given.append(session.predict(sigma, partial(run, sigma)))
    assert [step.action for step in session.report.steps] == ["compute", "reuse", "live", "reuse", "compute"]
    first, live, last = made
    assert torch.equal(given[0], first) and torch.equal(given[1], first) and torch.equal(given[4], last)
    inside = mask.bool()[:, None].expand_as(first)
    for out in given[2:4]:
        assert torch.equal(out[inside], live[inside]) and torch.equal(out[~inside], first[~inside])
    assert (live - first)[inside].abs().min() > 0
    assert session.report.bytes_held > 4 * first.numel()  # residuals beside outputs


@pytest.mark.parametrize("order", [0, 1])
def test_at_the_computed_input_live_rows_are_the_computed_ones(order):
    """Segments of one block, so that no state inside a segment is guessed."""
    case = toy_live_case()
    case.adapter = replace(case.adapter, layout=lambda model: Layout(7, tuple(range(7))))
    x, audio = case.tensors(0)
    mask = torch.zeros(1, 2, 3)
    mask[:, 0, 0] = 1
    with running(case, mask, schedule=(True, False, True), live=True, forecast_order=order) as session:
        outs = []
        for _ in range(2):
            with session.evaluation(1.0):
                outs.append(case.call(case.model, x, 1.0, audio))
    assert session.report.lived == 1
    assert_close(outs[1], outs[0], 1e-5)


@pytest.mark.parametrize("held", [True, False])
def test_states_of_the_other_rows_are_as_far_as_at_the_computed_step_or_on_a_line(held):
    """Segment 1 is blocks 1 and 2: keys are made of z_0, and of what block 2 was given, or of z_0 and half R."""
    case, seen = toy_live_case(), []
    live = case.adapter.live(None)

    def keys(block, hidden, given):
        seen.append(hidden.clone())
        return live.keys(block, hidden, given)

    case.adapter = replace(case.adapter, live=lambda block: replace(live, keys=keys))
    x, audio = case.tensors(0)
    mask, states = torch.zeros(1, 2, 3), []
    mask[:, 0, 0] = 1

    def look(call, block, state, *ways):
        states.append(call.view(block).of(state).clone())

    with running(case, mask, schedule=(True, False), live=True, live_reach=0, force_last=False) as session:
        session.residuals.depths = Depths("same", None if held else 0)
        for _ in range(2):
            states.clear()
            with watched(look), session.evaluation(1.0):
                case.call(case.model, x, 1.0, audio * 0)
            if not seen:
                start, inside, end = states[1:4]
    want = inside if held else (start + end) / 2
    assert len(seen) == 6 and torch.allclose(seen[0], start[:, 1:]) and torch.allclose(seen[2], end[:, 1:], atol=1e-5)
    off = (seen[1] - want[:, 1:]).abs()
    assert (off <= (want - start)[:, 1:].abs().amax(-1, keepdim=True) / 14 + 1e-5).all() and (off.max() > 1e-5) == held


def test_four_bits_by_hand():
    """Here all channels share a scale: the largest is kept, steps are a seventh of it."""
    packed = Packed(torch.tensor([[[7.0, 1.4, -3.0, 0.0], [-0.7, 0.0, 0.0, 0.0]]]))
    assert packed.nbytes == 2 * 2 + 2 * 4
    assert packed.to(torch.device("cpu")).tolist() == [[[7, 1, -3, 0], [pytest.approx(-0.7), 0, 0, 0]]]
    many = torch.randn(1, 3, 64)
    off = (Packed(many).to(many.device) - many).unflatten(-1, (2, 32)).abs()
    assert (off <= many.unflatten(-1, (2, 32)).abs().amax(-1, keepdim=True) / 14 + 1e-6).all()


def test_depths_are_counted_and_kept_within_a_budget():
    offset = torch.ones(1, 3, 32)
    depths = Depths("same", 100)
    depths.put("a", 1, offset)
    depths.put("a", 1, offset)
    assert depths.bytes == depths.peak == 3 * 16 + 3 * 4
    depths.put("b", 1, offset)
    assert depths.of("b", 1, offset) is None and torch.allclose(depths.of("a", 1, offset), offset)
    assert depths.of("a", 1, offset[:, :2]) is None
    depths.clear()
    assert depths.bytes == 0 and depths.of("a", 1, offset) is None


@pytest.mark.parametrize("groups", [((1, 2), (3,)), ((1, 2, 3),)])
@pytest.mark.parametrize("merge", ["refresh", "freeze"])
def test_the_other_rows_are_as_reuse_leaves_them_in_merged_segments(groups, merge):
    case, outs, mask = toy_live_case(), [], torch.zeros(1, 2, 3)
    mask[:, 0, 0] = 1
    x, audio = case.tensors(0)
    for live in (False, True):
        settings = {"schedule": (True, False), "force_last": False, "groups": groups, "merge": merge, "live_reach": 0}
        with running(case, mask, **settings, live=live) as session:
            for sigma in (1.0, 0.9):
                with session.evaluation(sigma):
                    out = case.call(case.model, x + sigma, sigma, audio)
        outs.append(out)
    assert torch.allclose(outs[0][:, 1:], outs[1][:, 1:], atol=1e-6) and not torch.allclose(outs[0][:, 0], outs[1][:, 0])


def test_a_failure_of_ours_at_a_live_step_computes_the_rest(monkeypatch):
    case, mask = toy_live_case(), torch.ones(1, 1, 1)
    plain = sample(case)[-2]
    monkeypatch.setattr(LiveRows, "rows", lambda *args: 1 / 0)
    with running(case, mask, schedule=(True, False) * 6, live=True) as session:
        out = sample(case, session)[-2]
    assert torch.equal(out, plain) and session.report.notes[-1] == "caching stopped: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("case", "mask", "note"),
    [
        (toy_live_case, None, "live has no effect: it needs a human_mask"),
        (toy_case, torch.ones(1, 1, 1), "live has no effect on Toy DiT, audio after: its blocks run on all rows only"),
    ],
)
def test_who_asks_for_what_cannot_be_is_told_so(case, mask, note):
    made = case()
    with running(made, mask, schedule=(True, False) * 6, live=True) as session:
        sample(made, session)
    assert session.report.lived == 0 and session.report.reused == 5 and note in session.report.notes


def test_target_speed_is_met_with_live_steps():
    case, mask = toy_live_case(), torch.zeros(1, 2, 3)
    mask[:, 0, 0] = 1
    with running(case, mask, target_speedup=2.0, live=True, live_reach=0) as session:
        sample(case, session)
    report = session.report
    assert report.lived == report.live_budget > 0 and report.computed == report.budget
    assert 1.85 < report.speedup_ideal < 2.25
    assert f"{report.lived} live at {report.live_share:.0%} of one" in report.summary()
    assert report.to_dict()["live"] == report.lived


def test_the_contract_of_live_rows_is_checked_where_there_are_some():
    names = {name for name in vars(live_checks) if name.startswith("contract_")}
    kept = checks.check_adapter(toy_live_case())
    assert len(names) == 7 and names <= {f"contract_{name}" for name in kept}
    assert not names & {f"contract_{name}" for name in checks.check_adapter(toy_case())}


@pytest.mark.parametrize(
    ("part", "broken"), [("places", "rows of block 0"), ("keys", "rows of block 0"), ("audio", "stale audio")]
)
def test_a_part_that_is_left_out_breaks_the_contract(part, broken):
    case = toy_live_case()
    live = case.adapter.live(None)
    if part != "audio":
        wrong = {
            "places": {"part": lambda given, rows: {**given, "places": given["places"][:, : len(rows)]}},
            "keys": {"keys": lambda block, hidden, given: (block.k(hidden), block.v(hidden))},
        }[part]
        case.adapter = replace(case.adapter, live=lambda block: replace(live, **wrong))
    else:
        case.call = lambda model, x, sigma, audio: model(x, sigma, audio * 0)
    with pytest.raises(AssertionError, match=broken):
        checks.check_adapter(case)


def test_rotations_by_hand():
    """A quarter turn takes (1, 0) to (0, 1); each row has its own."""
    turns = torch.tensor([[[1.0, 0], [0, 1]], [[0.0, -1], [1, 0]]]).reshape(1, 2, 1, 1, 2, 2)
    key = torch.tensor([[1.0, 0], [1, 0]]).reshape(1, 2, 1, 2)
    assert rotated(key, turns).flatten(2).tolist() == [[[1, 0], [0, 1]]]


@pytest.mark.parametrize(("length", "count", "rows"), [(12, 3, 4), (13, 3, 5), (16, 16, 1)])
def test_rows_that_share_a_modulation(length, count, rows):
    assert each(length, count) == rows


def test_bytes_of_residuals_that_are_held_beside_outputs():
    assert cache_bytes(10, 4, "output", 3, 1, 0) == 8
    assert cache_bytes(10, 4, "output", 3, 1, 0, live=True) == 68


def test_the_settings_are_checked():
    with pytest.raises(BadConfig, match=r"live must be a tuple of True and False, or one of them, got 'person'"):
        Config(live="person")
    with pytest.raises(BadConfig, match="live_reach must be a whole number in 0..100, got -1"):
        Config(live_reach=-1)
    case = toy_live_case()
    with pytest.raises(BadMask), running(case, torch.ones(7, 2, 3), schedule=(True,) * 12, live=True) as session:
        sample(case, session)


@pytest.mark.parametrize("speedup", [1.5, 4.0])
def test_live_steps_that_cannot_be_do_not_choose_the_level(speedup):
    case, config = toy_case(), Config(target_speedup=speedup, level="auto", cache_ratio=None)
    asked, plain = (
        settings_of(replace(config, live=live), case.bound, case.grid, case.sigmas, Sampler()) for live in (True, False)
    )
    assert asked.config == plain.config and plain.notes == () and not asked.livable
    assert asked.notes == ("live has no effect on Toy DiT, audio after: its blocks run on all rows only",)


@pytest.mark.parametrize("case", [toy_live_case(), toy_packed_case()], ids=["no mask", "sound beside the video"])
def test_live_without_what_it_needs_does_not_choose_the_level_either(case):
    """On a large model, whose probe and audio cost little, "auto" reuses residuals; of runs with LIVE steps, outputs."""
    mask = None if case.bound.layout.audio == "after" else spot()
    costs = CostModel(100.0, 1.0, 1.0, Layout(40, tuple(range(0, 40, 4)), case.bound.layout.audio), probe=1.0)
    case.adapter = replace(case.adapter, cost=lambda *_: costs)
    config = Config(target_speedup=2.0, level="auto")
    asked, plain = (
        settings_of(replace(config, live=live), case.bound, case.grid, case.sigmas, Sampler(), mask=mask)
        for live in (True, False)
    )
    assert asked.config == plain.config and plain.config.level == "residual"
    assert len(asked.notes) == 1 and asked.notes[0].startswith("live has no effect: ") and plain.notes == ()


@pytest.mark.parametrize(
    ("scale", "rows", "said"),
    [
        (4.0, 1, ""), (3.9, 1, "no step is live: at this guidance whole steps are nearer"),
        (4.0, 4, "no step is live: it would cost 67% of a computed one, too much to gain by it"),
    ],
)  # fmt: skip
def test_where_none_will_be_live_the_level_is_that_of_whole_steps(scale, rows, said):
    """Of six tokens one or four are live: a step costs a sixth or two thirds."""
    case, mask = toy_live_case(), torch.zeros(1, 2, 3)
    mask.view(-1)[:rows] = 1
    costs = CostModel(100.0, 1.0, 1.0, Layout(40, tuple(range(0, 40, 4)), case.bound.layout.audio), probe=1.0)
    case.adapter = replace(case.adapter, cost=lambda *_: costs)
    config = Config(target_speedup=2.0, level="auto", adapt=True, live=True, live_reach=0)
    found = settings_of(config, case.bound, case.grid, case.sigmas, Sampler(), mask=mask, guidance=scale)
    assert found.notes == ((said,) if said else ())
    assert (found.config.live, found.config.level) == ((False, "residual") if said else (True, "output"))


def filmed(case, session, seed, away=None):
    """x at the end of twelve Euler steps. away: multiplies x before each pass."""
    rows, audio = case.tensors(seed)
    x = torch.randn(1, 8, 1, 2, 3, generator=torch.Generator().manual_seed(seed))

    def run(sigma):
        hidden = torch.cat([x.flatten(2).mT, rows[:, 6:]], dim=1)
        return 0.2 * case.model(hidden, sigma, audio).mT.reshape(x.shape)

    for sigma, following in zip(case.sigmas, case.sigmas[1:]):
        x = x + (following - sigma) * session.predict(sigma, partial(run, sigma))
    return x


@pytest.mark.parametrize("level", ["output", "residual"])
def test_the_others_are_corrected_where_live_steps_closed_the_gap_of_the_live(level):
    """A LIVE step ends each gap, so that at a computed one only the other rows have anything to put right."""
    case, mask, errors, corrections = toy_live_case(), torch.zeros(1, 2, 3), [], []
    mask[:, 0, 0] = 1
    actions = "crlrlcrlrlcc"
    settings = {"schedule": tuple(a == "c" for a in actions), "live": tuple(a == "l" for a in actions), "live_reach": 0}
    for seed in range(3):
        with running(case, None, target_speedup=1.0) as session:
            plain = filmed(case, session, seed)
        for correction in (False, True):
            with running(case, mask, **settings, level=level, correction=correction, forecast_order=1) as session:
                errors.append(((filmed(case, session, seed) - plain).norm() / plain.norm()).item())
            corrections.append(session.report.corrections)
    assert corrections == [0, 2] * 3
    assert sum(errors[1::2]) < sum(errors[::2])


def test_live_in_parts_of_the_video_stops_with_a_sentence():
    case, mask = toy_live_case(), torch.zeros(1, 2, 3)
    mask[:, 0, 0] = 1
    with running(case, mask, schedule=(True, False, True), live=(False, True, False), level="output") as session:
        rows, audio = case.tensors(0)
        x = torch.randn(1, 8, 3, 2, 3, generator=torch.Generator().manual_seed(0))

        def run():
            passes = [torch.cat([part.flatten(2).mT, rows[:, 6:]], dim=1) for part in x.split(1, dim=2)]
            return torch.cat([case.model(one, 0.5, audio).mT.reshape(1, 8, 1, 2, 3) for one in passes], dim=2)

        for sigma in case.sigmas[:3]:
            session.predict(sigma, run)
    assert [step.action for step in session.report.steps] == ["compute"] * 3
    assert "live needs passes over the whole latent of 3 frames, these have 1" in session.report.notes[-1]


def failing_once(monkeypatch, method, at):
    """The `at`-th call of a method of `Call` finds no memory."""
    original, calls = getattr(Call, method), []

    def fail(call, *args):
        calls.append(args)
        if len(calls) == at:
            raise torch.OutOfMemoryError("out of memory")
        return original(call, *args)

    monkeypatch.setattr(Call, method, fail)


SOME = (True, True, False, False, False, True) + (False,) * 6


def test_a_merged_group_whose_residual_is_in_the_state_is_not_computed_as_well(monkeypatch):
    """Memory ends at its last segment, at an input for which residuals are exact."""
    case = toy_case()
    failing_once(monkeypatch, "_merge", 2)
    rows, audio = case.tensors(0)
    whole = case.call(case.model, rows.clone(), 0.5, audio)
    with running(case, schedule=SOME, groups=((1, 2, 3),)) as session:
        for sigma in case.sigmas[:3]:
            with session.evaluation(sigma):
                out = case.call(case.model, rows.clone(), 0.5, audio)
    assert session.report.steps[-1].action == "compute" and "out of memory" in session.report.notes[-1]
    assert session.residuals.peak > 0 and session.residuals.empty
    assert_close(out, whole, 1e-6)


def test_nothing_is_held_of_live_steps_once_memory_has_ended(monkeypatch):
    case, mask = toy_live_case(), torch.zeros(1, 2, 3)
    mask[:, 0, 0] = 1
    failing_once(monkeypatch, "_before_live", 2)
    with running(case, mask, schedule=SOME, live=(False, False, True) + (False,) * 9, live_reach=0) as session:
        sample(case, session)
        assert session.residuals.depths.peak > 0 == session.residuals.depths.bytes


def chosen(rate, speed, share=0.2, adapt=True, guidance=6.0):
    """"c", "l" and "-" of twelve even steps, whose first gap changed as much per unit of sigma; and the notes."""
    layout, sampler, report = Layout(10, tuple(range(10))), Sampler(), RunReport("a model", 10, 10, {})
    config = Config(target_speedup=speed, level="output", live=True, adapt=adapt, alpha=0.0)
    steps = Steps(config, layout, Clock(EVENLY, sampler), sampler, guidance, Residuals(config, layout), report)
    steps.price(CostModel(100.0, 0.0, 0.0, layout), share, 12)
    actions = ""
    for index in range(12):
        _, computed, live = steps.planned(index, 12)
        actions += "c" if computed or not index else "l" if live else "-"
        if index and computed and adapt and actions.count("c") == 2:
            steps.adapt(index, rate)
    return actions, report.notes


def test_steps_are_live_behind_a_first_gap_in_which_little_changed():
    """At 2x 6 may be computed, at 0 3 5 7 9 11. Behind 3, with 5 left, 4 are computed, and 5 are live at a fifth."""
    whole = "c--c-c-c-c-c"
    assert chosen(1.0, 2.0) == (whole, ["no step is live: the video changes too much from step to step"])
    assert chosen(float("nan"), 2.0)[0] == whole
    found, notes = chosen(0.5, 2.0)
    assert found[:4] == "c--c" and found.count("c") == 5 and found.count("l") == 5 and notes == []
    assert found.count("c") + found.count("l") * 0.2 <= 6
    assert "l" in chosen(1.0, 2.0, adapt=False)[0][:2]


def test_a_speed_that_leaves_nothing_has_whole_steps_behind_the_first_gap():
    found, notes = chosen(0.5, 6.0)
    assert found == "c-----c-----" and notes == ["no step is live: 6× leaves nothing beside the computed ones"]


@pytest.mark.parametrize("guidance", [1.0, 3.9])
def test_without_much_guidance_steps_are_whole(guidance):
    found, notes = chosen(0.5, 2.0, guidance=guidance)
    assert found.count("c") == 6 and "l" not in found
    assert notes == ["no step is live: at this guidance whole steps are nearer"]
    assert "l" in chosen(0.5, 2.0, guidance=4.0)[0]


def test_steps_of_a_person_who_fills_the_picture_are_whole():
    found, notes = chosen(0.5, 2.0, share=0.55)
    assert "l" not in found and found.count("c") == 6
    assert notes == ["no step is live: it would cost 55% of a computed one, too much to gain by it"]
    assert "l" in chosen(0.5, 2.0, share=0.45)[0]
