"""One run from outside: hand arithmetic on a model that doubles, then every fault that a run can meet."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from demo.toys import toy_case
from synccache_core import Adapter, BadConfig, BadMask, Config, Grid, Layout, StateError, View, attach
from synccache_core.contract.case import running, sample
from synccache_core.decide.history import ProbeHistory
from synccache_core.model.cost import parameter_cost
from synccache_core.reuse.store import ResidualStore

GRID = Grid(1, 1, 2)
SIGMAS = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]


class Double(nn.Module):
    def forward(self, hidden, extra=None):
        return hidden * 2


class Doubling(nn.Module):
    """Four blocks that double; after blocks 0, 1 and 3 the audio is added to the two video tokens, in place."""

    points = (0, 1, 3)

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Double() for _ in range(4))
        self.calls = [0] * 4

    def forward(self, hidden, audio=0.0, unknown_to_us=None):
        for i, block in enumerate(self.blocks):
            self.calls[i] += 1
            hidden = block(hidden, extra=unknown_to_us)
            if i in self.points:
                hidden[:, :2] += audio
        return hidden


ADAPTER = Adapter(
    "doubling", "Doubling", ("Doubling",), lambda m: Layout(4, m.points), lambda x: GRID,
    lambda m, g, t, text=None: parameter_cost(Layout(4, m.points), 100, 1, 1), lambda m: 1,
    view=lambda one, block: View(2, behind=1),
)


def run(inputs, audios, schedule, model=None, **settings):
    """Outputs of the first video token of each evaluation, and the report."""
    model = model or Doubling()
    outputs = []
    config = Config(schedule=schedule, **{"forecast_order": 0, **settings})
    with torch.no_grad(), attach(model, config, SIGMAS, GRID, adapter=ADAPTER) as session:
        for sigma, x, audio in zip(SIGMAS, inputs, audios):
            with session.evaluation(sigma):
                out = model(torch.full((1, 3, 1), float(x)), audio, unknown_to_us="passes through")
            outputs.append(out[0, 0, 0].item())
    return outputs, session.report


def test_reuse_by_hand():
    # computed at x=1, audio 0: h = 2 | +0 | R1 = 4-2 = 2 | R2 = 16-4 = 12 -> 16
    # reused at x=3, audio 1: probe 6+1 = 7 | 7+2+1 = 10 | 10+12+1 = 23
    outputs, report = run([1, 3], [0, 1], (True, False, True))
    assert outputs == [16.0, 23.0]
    assert (report.computed, report.reused) == (1, 1)


def test_samplers_that_leave_gradients_on():
    """Like ComfyUI's uni_pc where a script calls it: what is stored holds no graph, and is added in place."""
    case = toy_case()
    x, audio = case.tensors(0, batch=2)
    with torch.enable_grad(), running(case, schedule=(True, False, True)) as session:
        for sigma in SIGMAS[:3]:
            with session.branch("uncond", "cond"), session.evaluation(sigma):
                case.call(case.model, x, sigma, audio)
        assert (session.report.computed, session.report.reused, session.guard.broken) == (2, 1, None)
        assert not session.residuals.forecast(("cond", 0), 1, SIGMAS[2], x.device).requires_grad


def test_merged_residuals_by_hand():
    # one residual for both segments, 2 + 12, added where the first opens; both inner refreshes still run
    outputs, report = run([1, 3], [0, 1], (True, False, True), cache_ratio=0.3, merge="refresh")
    assert outputs == [16.0, 7 + 14 + 1 + 1]
    assert report.groups == 1


def test_merge_variants_by_hand():
    # computed at x=1, audio 1: z0 = 3 | u1 = 6, R1 = 3, z1 = 7 | u2 = 28, R2 = 21 -> 29
    # reused at x=3, audio 10: probe z0 = 16; refreshed 16 + 24 + 10 + 10, frozen 16 + (28 - 3) + 10
    settings = {"schedule": (True, False), "force_last": False, "groups": ((1, 2),)}
    assert run([1, 3], [1, 10], **settings, merge="refresh")[0] == [29.0, 60.0]
    outputs, report = run([1, 3], [1, 10], merge="freeze", **settings)
    assert outputs == [29.0, 51.0] and report.groups == 1 and report.bytes_held == 8


def test_groups_of_their_own_are_the_same_frozen_or_not():
    settings = {"schedule": (True, False), "groups": ((1,), (2,))}
    assert run([1, 3], [1, 10], **settings)[0] == run([1, 3], [1, 10], merge="freeze", **settings)[0]


def test_without_a_probe_nothing_is_run_by_hand():
    # R0 = 2 - 1 = 1; reused at x=3, audio 10: 3 + 1 + 10 = 14 | 14 + 3 + 10 = 27 | 27 + 21 + 10 = 58
    model = Doubling()
    outputs, report = run([1, 3], [1, 10], (True, False), model=model, probe=False)
    assert outputs == [29.0, 58.0] and report.groups == 3
    assert report.bytes_held == report.bytes_predicted == 3 * 8 and report.steps[1].change is None
    assert report.speedup_ideal == pytest.approx(2 / (1 + 4 / 404))  # of 4 blocks of 100, 3 refreshes and 1, those 4


def test_without_a_probe_frozen_and_under_a_budget():
    settings = {"schedule": (True, True, False, False), "probe": False, "forecast_order": 1}
    outputs, report = run([1, 1, 3, 3], [1, 1, 10, 10], merge="freeze", groups=((1, 2),), **settings)
    assert outputs[2] == 3 + 1 + 10 + 25 + 10 and report.bytes_held == 2 * 2 * 8
    _, report = run([1, 1, 3, 3], [1, 1, 10, 10], memory_budget=17, **settings)
    assert report.groups == 2 and report.order == 0 and report.reused > 0  # segment 0 and the two others merged
    _, report = run([1, 1, 3, 3], [1, 1, 10, 10], memory_budget=8, **settings)
    assert report.groups == 0 and report.reused == 0 and any("nothing is cached" in note for note in report.notes)


def test_settings_that_do_not_suit_the_layout_are_refused():
    with pytest.raises(BadConfig, match=r"groups must hold the 2 segments.*got 3"):
        run([1], [0], (True,), groups=((1, 2, 3),))
    with pytest.raises(BadConfig, match="probe must be True"), running(toy_case("inside"), schedule=(True,), probe=False):
        pass


def test_the_last_step_may_be_reused_where_a_plan_says_so():
    _, report = run([1] * 5, [0] * 5, (True, True, True, False, False), force_last=False)
    assert [s.action for s in report.steps] == ["compute"] * 3 + ["reuse"] * 2
    assert run([1] * 5, [0] * 5, (True, True, True, False, False))[1].steps[-1].reason == "last step"


@pytest.mark.parametrize(("kind", "groups"), [("after", ((1, 2), (3,))), ("inside", ((1, 2, 3), (4,), (5, 6, 7)))])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("probe", [True, False])
def test_a_frozen_group_at_the_very_same_input_gives_the_computed_output(kind, groups, inplace, probe):
    """Whatever the host injects meanwhile is undone, and a second reuse gives the same."""
    case = toy_case(kind, inplace)
    x, audio = case.tensors(1)
    settings = {"merge": "freeze", "probe": probe or kind == "inside", "groups": groups}
    outputs = []
    with torch.no_grad(), running(case, schedule=(True, False, False, True), **settings) as session:
        for _ in range(3):
            with session.evaluation(1.0):
                outputs.append(case.call(case.model, x, 1.0, audio).clone())
        assert session.report.reused == 2
    assert torch.allclose(outputs[1], outputs[0], atol=1e-5) and torch.equal(outputs[1], outputs[2])


def test_a_failure_inside_a_frozen_group_computes_the_rest_rightly(monkeypatch):
    monkeypatch.setattr(ResidualStore, "forecast", lambda *a: 1 / 0)
    outputs, report = run([1, 3], [1, 10], (True, False), groups=((1, 2),), merge="freeze")
    assert outputs == [29.0, 4 * (2 * 16 + 10) + 10] and any("ZeroDivision" in note for note in report.notes)


def test_first_order_forecast_by_hand():
    # R1 is 2x, R2 is 12x: computed at x = 1 and 2, so at one more equal sigma step R1 = 6, R2 = 36
    outputs, _ = run([1, 2, 5], [0, 0, 0], (True, True, False, True), forecast_order=1)
    assert outputs == [16.0, 32.0, pytest.approx(10 + 6 + 36)]


def test_bytes_held_are_bytes_predicted():
    _, report = run([1, 2, 3], [0, 0, 0], (True, True, False), forecast_order=1)
    assert report.bytes_held == report.bytes_predicted == 2 * 2 * (2 * 4)  # groups x anchors x (2 tokens x float32)


def test_tokens_beyond_the_video_are_neither_stored_nor_changed():
    model = Doubling()
    with torch.no_grad(), attach(model, Config(schedule=(True, False)), SIGMAS, GRID, adapter=ADAPTER) as session:
        for sigma in SIGMAS[:2]:
            with session.evaluation(sigma):
                out = model(torch.ones(1, 3, 1))
    assert out[0, 2, 0].item() == 2.0  # the reference token only went through the probe


def test_skipped_blocks_do_not_run():
    blocks = Doubling()
    counts = [0] * 4
    for i, block in enumerate(blocks.blocks):
        original = block.forward

        def counted(*args, _i=i, _f=original, **kwargs):
            counts[_i] += 1
            return _f(*args, **kwargs)

        block.forward = counted
    run([1, 1, 1], [0, 0, 0], (True, False, False), model=blocks)
    assert counts == [3, 1, 1, 1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_probe_without_meaning_computes_and_says_so(bad):
    outputs, report = run([1, bad, 1, 1], [0] * 4, (True, False, False, False))
    assert report.steps[1].reason == "nonfinite probe" and report.steps[1].change is None
    assert [s.action for s in report.steps[:2]] == ["compute", "compute"]
    report.to_json()  # no NaN gets into the JSON


def test_a_residual_that_is_not_finite_is_never_used():
    outputs, report = run([1, float("inf"), 1, 1, 1], [0] * 5, (True, True, False, False, True))
    assert all(abs(v) < 1e6 for i, v in enumerate(outputs) if i != 1)
    assert any("not finite" in note for note in report.notes)


def test_all_zero_hidden_states_do_not_divide_by_zero():
    _, report = run([0, 0, 0], [0] * 3, (True, False, False))
    assert report.steps[1].reason == "nonfinite probe"
    assert report.to_dict()["steps"][1]["change"] is None


def test_a_budget_below_one_residual_caches_nothing_and_names_the_need():
    outputs, report = run([1, 2, 3], [0] * 3, (True, False, False), memory_budget=7)
    assert outputs == [16.0, 32.0, 48.0] and report.bytes_held == 0
    assert any("7 bytes" in note and "8 bytes" in note for note in report.notes)


def test_a_tight_budget_lowers_the_order_first_then_merges():
    _, report = run([1] * 5, [0] * 5, (True, True, True, False, False), memory_budget=17, forecast_order=1)
    assert report.groups == 2 and report.bytes_held == 16
    _, report = run([1] * 5, [0] * 5, (True, True, True, False, False), memory_budget=9, forecast_order=1)
    assert report.groups == 1 and report.bytes_held == 8 and report.reused == 1
    assert any("1 of 2 residuals" in note for note in report.notes)


def test_out_of_memory_while_storing_goes_on_uncached(monkeypatch, caplog):
    def full(*args):
        raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(ResidualStore, "put", full)
    outputs, report = run([1, 2, 3], [0, 1, 2], (True, False, False))
    assert outputs == [16.0, 32 + 8 + 4 + 1, 48 + 2 * 13]  # audio gains: 8 after block 0, 4 after 1, 1 after 3
    assert report.reused == 0 and len(caplog.records) == 1
    assert [step.reason for step in report.steps] == ["caching stopped"] * 3
    assert any("OutOfMemoryError" in note for note in report.notes)


def test_out_of_memory_while_reusing_computes_the_rest(monkeypatch):
    monkeypatch.setattr(ResidualStore, "forecast", lambda *a: (_ for _ in ()).throw(torch.OutOfMemoryError("x")))
    outputs, report = run([1, 2, 3], [0] * 3, (True, False, False))
    assert outputs == [16.0, 32.0, 48.0] and len(report.notes) == 1


def test_the_models_own_exception_is_untouched_and_frees_the_run():
    model = Doubling()

    class Boom(Exception):
        pass

    class Failing(nn.Module):
        def forward(self, hidden, extra=None):
            raise Boom("from the model")

    model.blocks[2] = Failing()
    with pytest.raises(Boom, match="from the model"):
        run([1], [0], (True,), model=model)
    assert "forward" not in vars(model)


def test_shapes_that_change_mid_run_are_computed_never_trimmed():
    case = toy_case()
    with torch.no_grad(), running(case, schedule=(True, False) * 6) as session:
        for sigma, batch in ((1.0, 1), (0.9, 2), (0.8, 2), (0.7, 2)):
            x, audio = case.tensors(0, batch)
            with session.evaluation(sigma):
                case.call(case.model, x, sigma, audio)
        steps = session.report.steps
    assert [s.action for s in steps] == ["compute", "compute", "compute", "reuse"]
    assert steps[1].reason == "shape changed"


def test_a_branch_that_appears_late_is_computed_and_the_next_step_too():
    case = toy_case()
    x, audio = case.tensors(0)

    def evaluate(session, sigma, *names):
        with session.evaluation(sigma):
            for name in names:
                with session.branch(name):
                    out = case.call(case.model, x, sigma, audio)
        return out

    with torch.no_grad(), running(case, schedule=(True, False, False, False, True)) as session:
        evaluate(session, 1.0, "c")
        late = evaluate(session, 0.9, "c", "u")
        evaluate(session, 0.8, "c", "u")
        evaluate(session, 0.7, "c", "u")
        actions = [s.action for s in session.report.steps]
        notes = session.report.notes
    with torch.no_grad():
        assert torch.equal(late, case.call(case.model, x, 0.9, audio))
    assert actions == ["compute", "reuse", "compute", "reuse"]
    assert any("branch" in note for note in notes)


def test_passes_of_one_branch_are_told_apart():
    """Context windows and guidance passes evaluate one conditioning several times per step, in the same order."""
    case = toy_case()
    (x1, a1), (x2, a2) = case.tensors(1), case.tensors(2)
    with torch.no_grad(), running(case, schedule=(True, False, True)) as session:
        for _ in range(2):
            with session.evaluation(1.0):
                first = case.call(case.model, x1, 1.0, a1)
                second = case.call(case.model, x2, 1.0, a2)
        assert session.report.reused == 1 and session.report.branches == 2
    with torch.no_grad():
        assert torch.allclose(first, case.call(case.model, x1, 1.0, a1), atol=1e-5)
        assert torch.allclose(second, case.call(case.model, x2, 1.0, a2), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_residuals_keep_the_models_dtype(dtype):
    case = toy_case()
    case.model.to(dtype)
    x, audio = (t.to(dtype) for t in case.tensors(0))
    with torch.no_grad(), running(case, schedule=(True, False, True), forecast_order=1) as session:
        for _ in range(2):
            with session.evaluation(1.0):
                out = case.call(case.model, x, 1.0, audio)
        assert session.report.reused == 1
        assert session.report.bytes_held == 3 * 6 * 8 * out.element_size()
    with torch.no_grad():
        error = (out - case.call(case.model, x, 1.0, audio)).float().norm() / out.float().norm()
    assert out.dtype == dtype and error < 0.02


def test_a_foreign_pass_is_neither_fed_nor_served():
    case = toy_case()
    x, audio = case.tensors(0)
    with torch.no_grad(), running(case, schedule=(True, False, False, True)) as session:
        with session.evaluation(1.0):
            case.call(case.model, x, 1.0, audio)
        with session.evaluation(0.9):
            call = session.call(["other"], case.grid, foreign=True)
            assert torch.equal(call.block(3, x, lambda h: h * 3), x * 3)
        assert session.report.steps[1].reason == "another extension altered the pass"


def test_the_mask_is_checked_before_anything_runs():
    model = Doubling()
    config = Config(schedule=(True,))
    with attach(model, config, SIGMAS, Grid(3, 1, 2), mask=torch.zeros(5, 4, 4), adapter=ADAPTER) as session:
        with pytest.raises(BadMask, match="5 frames"), session.evaluation(1.0):
            model(torch.ones(1, 6, 1))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_of_nothing_or_everything_weighs_all_alike_and_says_so(value):
    def steps(mask):
        case = toy_case()
        config = Config(target_speedup=2.0, forecast_order=0)
        with torch.no_grad(), attach(case.model, config, case.sigmas, case.grid, mask, case.adapter) as session:
            sample(case, session)
        return [s.change for s in session.report.steps], session.report.notes

    plain, _ = steps(None)
    alike, notes = steps(torch.full((4, 6), value))
    half, quiet = steps(torch.tensor([[1.0, 0.0, 0.0]] * 2))
    assert alike == plain and any("human_mask is empty or covers everything" in note for note in notes)
    assert half != plain and not quiet


@pytest.mark.parametrize("shape, said", [((480, 832), False), ((9, 16), False), ((512, 512), True), ((832, 480), True)])
def test_a_mask_of_another_shape_than_the_video_is_told(shape, said):
    mask = torch.zeros(shape)
    mask[: shape[0] // 2] = 1.0
    history = ProbeHistory(mask, 0.75)
    remark = history.fit_mask(Grid.from_latent((3, 60, 104)))
    assert bool(remark) == said and history.fit_mask(Grid.from_latent((3, 60, 104))) is None
    assert not said or f"{shape[1]} x {shape[0]}, another shape than the video's 52 x 30 tokens" in remark


def test_the_probe_does_not_see_what_the_injector_writes_afterwards():
    """The injector writes into the probe block's output in place; the change is still that of the block alone."""
    case = toy_case()
    x, audio = case.tensors(0)
    seen = []
    with torch.no_grad(), running(case, target_speedup=2.0) as session:
        for sigma in (1.0, 0.9):
            block_zero = vars(case.model.blocks[0])["forward"]

            def spy(hidden, *args, _f=block_zero):
                out = _f(hidden, *args)
                seen.append(out[:, :6].clone())
                return out

            vars(case.model.blocks[0])["forward"] = spy
            with session.evaluation(sigma):
                case.call(case.model, x + sigma, sigma, audio)
            vars(case.model.blocks[0])["forward"] = block_zero
        change = session.report.steps[1].change
    assert change == pytest.approx(((seen[1] - seen[0]).abs().sum() / seen[0].abs().sum()).item(), rel=1e-5)


def test_a_target_is_delivered_on_a_toy():
    case = toy_case()
    with torch.no_grad(), running(case, target_speedup=2.0) as session:
        sample(case, session)
    report = session.report
    assert report.computed == report.budget == session.steps.cost.computed_steps(12, 2.0)
    assert report.speedup_ideal == pytest.approx(2.0, rel=0.1)


def test_calls_out_of_order_are_refused():
    case = toy_case()
    x, audio = case.tensors(0)
    with running(case, target_speedup=2.0) as session:
        with pytest.raises(StateError, match="outside"):
            case.call(case.model, x, 1.0, audio)
        with pytest.raises(StateError, match="inside another"), session.evaluation(1.0):
            with session.evaluation(1.0):
                pass


def test_fifty_runs_hold_the_same_bytes():
    case, held = toy_case(), set()
    for _ in range(50):
        with torch.no_grad(), running(case, target_speedup=2.0) as session:
            sample(case, session)
        held.add((session.report.bytes_held, session.residuals.empty))
    assert held == {(session.report.bytes_held, True)}


def test_the_report_reads_well():
    _, report = run([1, 3, 3], [0, 1, 1], (True, False, False))
    text = report.summary()
    assert "4 blocks, 3 audio refreshes" in text and "1 computed, 2 reused" in text
    _, report = run([1, 3], [0, 1], (True, True))
    assert "nothing was reused: schedule, warm-up" in report.summary()


@pytest.mark.parametrize(
    ("settings", "reused"),
    [
        ({"schedule": (True, False, True, False, False) * 2 + (True, False)}, 6),  # the last of the seven is the last step
        ({"target_speedup": 99.0}, 10),  # of two that are computed none is the last
    ],
)
def test_a_host_can_ask_before_the_probe_whether_a_step_will_be_reused(settings, reused):
    case = toy_case()
    with torch.no_grad(), running(case, **settings) as session:
        x, audio = case.tensors(0)
        expected = []
        for sigma in case.sigmas[:-1]:
            with session.evaluation(sigma):
                expected.append(session.current.expects_reuse)
                case.call(case.model, x + sigma, sigma, audio)
                assert session.current.expects_reuse == expected[-1]  # decided by now
        assert expected == [step.action == "reuse" for step in session.report.steps]
        assert sum(expected) == reused


def test_all_bookkeeping_is_done_aside():
    """What is stored is made inside the context that a host gives; blocks are run outside."""
    inside, kept, ran = [0], [], []

    @contextmanager
    def aside():
        inside[0] += 1
        yield
        inside[0] -= 1

    case = toy_case("none")
    case.model.blocks[3].mix.register_forward_hook(lambda *_: ran.append(inside[0]))
    with torch.no_grad(), running(case, schedule=(True, False) * 6) as session:
        session.guard.aside, keep = aside, session.residuals.keep
        session.residuals.keep = lambda *args: (kept.append(inside[0]), keep(*args))
        sample(case, session)
    assert kept and set(kept) == {1} and ran == [0] * 7
