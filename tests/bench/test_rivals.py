"""Each rival's formula by hand arithmetic, on tensors of one number and on a toy transformer. No weights."""

import pytest
import torch

from bench import fit, hooks, rivals
from bench.hooks import hooked
from synccache_core import CostModel, Layout


def tensor(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1), float(value))


def entry(tokens: float, time: float = 0.0, modulated: float = 0.0) -> rivals.Entry:
    return rivals.Entry(tensor(tokens), tensor(time), lambda: tensor(modulated))


def one_step(cache: rivals.Cache, y: float, given: rivals.Entry, probe: float | None = None) -> float | None:
    """One evaluation of one branch: what stands for y, or None where it was computed."""
    cache.step()
    instead = cache.enter(given)
    if instead is None and probe is not None:
        instead = cache.probe(given.tokens, tensor(probe))
    if instead is None:
        cache.leave(given.tokens, tensor(y))
        return None
    return instead.item()


def test_fixed_interval_adds_the_residual_of_the_last_computed_step():
    cache = rivals.make(("scheduled", {"schedule": [0, 2]}), 4)
    assert [one_step(cache, y, entry(h)) for h, y in ((1, 11), (2, 0), (3, 7), (5, 0))] == [None, 12, None, 9]
    assert cache.computed == 2


def test_a_skipped_step_costs_embeddings_and_head_and_the_probe():
    cost = CostModel(block=10, refresh=1, other=4, layout=Layout(2, (0, 1)))  # 26 in full
    caches = {name: rivals.make(spec, 4) for name, spec in (
        ("scheduled", ("scheduled", {"schedule": [0, 1]})), ("dicache", ("dicache", {"warm": 2, "threshold": 9.0})),
        ("easycache", ("easycache", {"warm": 2, "threshold": 9.0})))}  # fmt: skip
    for cache in caches.values():
        cache.skipped = [False, False, True, False]
    spent = {name: cache.spent(cost) for name, cache in caches.items()}
    assert spent == pytest.approx({"scheduled": 3 + 4 / 26, "dicache": 3 + 14 / 26, "easycache": 3.0})


def test_taylorseer_extrapolates_a_parabola_exactly_from_even_steps():
    """y = t^2 at 0, 2, 4. D_1 = (16 - 4) / 2 = 6, D_2 = (6 - 2) / 2 = 2: y(5) = 16 + 6 + 1 = 23, as the method has it."""
    for order, wanted in ((0, 16.0), (1, 22.0), (2, 23.0)):
        cache = rivals.make(("taylorseer", {"schedule": [0, 2, 4], "order": order}), 6)
        assert [one_step(cache, t * t, entry(0.0)) for t in range(6)][5] == pytest.approx(wanted)


def test_taylorseer_uses_lower_orders_while_anchors_are_missing():
    cache = rivals.make(("taylorseer", {"schedule": [0, 2], "order": 2}), 4)
    assert [one_step(cache, y, entry(0.0)) for y in (3.0, 0, 7.0, 0)] == [None, 3.0, None, 9.0]


def test_teacache_accumulates_the_rescaled_change():
    """Times 1, 2, 3, 4, 5 change by 1, 1/2, 1/3, 1/4; p(c) = 2 c: 1 + 0.667 is above 1.2 at step 3, not at step 2."""
    cache = rivals.make(("teacache", {"warm": 2, "threshold": 1.2, "polynomial": [2.0, 0.0], "of": "time"}), 9)
    given = [one_step(cache, 5.0, entry(1.0, time)) for time in (1, 2, 3, 4, 5)]
    assert [value is None for value in given] == [True, True, False, True, False]
    assert given[2] == 1.0 + (5.0 - 1.0)


def test_teacache_of_the_modulated_input_ignores_the_time():
    cache = rivals.make(("teacache", {"warm": 1, "threshold": 0.5, "polynomial": [1.0, 0.0], "of": "modulated"}), 9)
    given = [one_step(cache, 5.0, entry(1.0, 9.0 * step, value)) for step, value in enumerate((1.0, 1.2, 2.4, 2.4))]
    assert [value is None for value in given] == [True, False, True, False]


def test_magcache_multiplies_ratios_and_sums_their_distance_from_one():
    """G 0.9, 0.81, 0.729: err 0.1, 0.29, 0.561. Below 0.5 two are skipped; with `longest` 1, one."""
    for longest, wanted in ((5, [True, False, False, True, False]), (1, [True, False, True, False, True])):
        settings = {"warm": 1, "threshold": 0.5, "ratios": [1.0] + [0.9] * 9, "longest": longest}
        cache = rivals.make(("magcache", settings), 10)
        assert [one_step(cache, 2.0, entry(1.0)) is None for _ in range(5)] == wanted


def test_dicache_aligns_along_the_residuals_as_far_as_the_probe_went():
    """P -2, -1, t = 1, 2, 2.5: g = 1.5; R_-2 = 10, R_-1 = 14: 10 + 1.5 * 4 = 16. Beyond 2 and below 1 it is clipped."""
    for probe_now, wanted in ((2.5, 16.0), (9.0, 18.0), (1.2, 14.0)):
        cache = rivals.make(("dicache", {"warm": 2, "threshold": 1e9}), 4)
        steps = [one_step(cache, y, entry(0.0), probe) for y, probe in ((10, 1), (14, 2), (0, probe_now))]
        assert steps[:2] == [None, None] and steps[2] == pytest.approx(wanted)


def test_dicache_with_one_anchor_reuses_it():
    cache = rivals.make(("dicache", {"warm": 1, "threshold": 1e9}), 3)
    assert [one_step(cache, 4.0, entry(h), h + 1.0) for h in (1.0, 2.0)] == [None, 5.0]


def test_dicache_measures_each_step_from_the_one_before():
    """Probes 10, 11, 12.1: 10 % each. Below 0.15 the first is skipped; the sum of 0.2 then computes."""
    cache = rivals.make(("dicache", {"warm": 1, "threshold": 0.15}), 9)
    given = [one_step(cache, 1.0, entry(1.0), probe) for probe in (10.0, 11.0, 12.1, 12.1)]
    assert [value is None for value in given] == [True, False, True, False]


def test_dicache_can_subtract_the_inputs_change():
    """Input and probe both change by 10 %: their difference is nothing."""
    cache = rivals.make(("dicache", {"warm": 1, "threshold": 0.01, "minus": True}), 9)
    assert [one_step(cache, 1.0, entry(10 * 1.1**t), 20 * 1.1**t) is None for t in range(4)] == [True, False, False, False]


def easy_step(cache: rivals.Cache, x: float, v: float) -> float | None:
    cache.step()
    instead = cache.latent(tensor(x))
    if instead is None:
        cache.output(tensor(x), tensor(v))
    return None if instead is None else instead.item()


def test_easycache_by_its_rate():
    """k = |4 - 2| / |9 - 10| = 2; step 2: 2 * |8 - 9| / 4 = 0.5; step 3 adds 2 * |7.5 - 8| / 4 = 0.25: 0.75 is not below."""
    cache = rivals.make(("easycache", {"warm": 2, "threshold": 0.75}), 9)
    assert [easy_step(cache, x, v) for x, v in ((10, 2), (9, 4), (8, 0), (7.5, 3))] == [None, None, 8 + (4 - 9), None]
    assert cache.computed == 3


def test_the_second_branch_follows_the_first():
    cache = rivals.make(("scheduled", {"schedule": [0]}), 2)
    for wanted in (True, False):
        cache.step()
        for branch, y in (("cond", 5.0), ("uncond", 7.0)):
            cache.turn(branch)
            instead = cache.enter(entry(1.0))
            assert (instead is None) == wanted
            if wanted:
                cache.leave(tensor(1.0), tensor(y))
            else:
                assert instead.item() == y


def test_the_last_step_is_computed_whatever_the_threshold():
    for name, settings in (("dicache", {}), ("easycache", {}), ("magcache", {"ratios": [1.0] * 5, "longest": 9})):
        cache = rivals.make((name, {"warm": 2, "threshold": 1e9, **settings}), 5)
        if name == "easycache":
            found = [easy_step(cache, x, x) for x in range(5)]
        else:
            found = [one_step(cache, 1.0, entry(1.0), 1.0 if name == "dicache" else None) for _ in range(5)]
        assert [value is None for value in found] == [True, True, False, False, True]


@pytest.mark.parametrize("computed", [3, 6, 8, 10, 12, 16])
def test_schedules_compute_as_many_steps_as_asked(computed):
    for schedule in (fit.fixed_interval(computed, 40), fit.after_three(computed, 40)):
        assert len(set(schedule)) == computed and schedule[0] == 0 and max(schedule) < 40
    assert fit.fixed_interval(10, 40) == tuple(range(0, 40, 4))


def test_thresholds_are_bisected_to_the_wanted_count():
    assert 0.25 <= fit.bisect(lambda threshold: 4 if threshold < 0.25 else 3 if threshold < 2 else 2, 3) < 2


def test_simulation_counts_what_a_run_would_compute():
    """A probe that doubles at every step: d = 1 each, so that a threshold of 1.5 skips every other step."""
    probe = torch.tensor([2.0**t for t in range(8)])[:, None, None, None]
    still, latent = torch.ones(8, 1, 1, 1), torch.ones(8, 1, 1, 1, 1, 1)
    run = hooks.Trace(latent, still, still, still, probe, still, latent)
    assert hooks.simulate(rivals.make(("dicache", {"warm": 2, "threshold": 1.5}), 8), run) == 5
    assert hooks.simulate(rivals.make(("dicache", {"warm": 2, "threshold": 1e9}), 8), run) == 3
    assert hooks.simulate(rivals.make(("dicache", {"warm": 2, "threshold": 0.5}), 8), run) == 8


class ToyBlock(torch.nn.Module):
    def __init__(self, gain: float):
        super().__init__()
        self.gain, self.calls = gain, 0
        self.modulation, self.norm1 = torch.zeros(1, 6, 1), torch.nn.Identity()

    def forward(self, hidden, context, t_mod, *rest):
        self.calls += 1
        return hidden * self.gain


class ToyTrunk(torch.nn.Module):
    """Blocks that double and triple, audio that adds 1 in place after each, as diffsynth's model has it."""

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([ToyBlock(2.0), ToyBlock(3.0)])

    def after_transformer_block(self, index, hidden):
        hidden += 1
        return hidden

    def forward(self, hidden):
        for index, block in enumerate(self.blocks):
            hidden = block(hidden, None, torch.zeros(1, 6, 2, 1))
            hidden = self.after_transformer_block(index, hidden)
        return hidden


@pytest.mark.parametrize(("name", "settings", "probed"), [("scheduled", {"schedule": [0]}, 1),
                                                          ("dicache", {"warm": 1, "threshold": 1e9}, 2)])  # fmt: skip
def test_hooks_leave_out_blocks_and_audio_and_are_gone_afterwards(name, settings, probed):
    """(2 h + 1) 3 + 1 = 10 at h = 1, R = 9; at h = 5 a skipped pass gives 14."""
    model, cache = ToyTrunk(), rivals.make((name, settings), 3)
    with hooked(model, cache):
        found = []
        for value in (1.0, 5.0):
            cache.step()
            found.append(model(tensor(value)).item())
    assert found == [10.0, 14.0]
    assert [block.calls for block in model.blocks] == [probed, 1]
    assert "forward" not in vars(model.blocks[0]) and "after_transformer_block" not in vars(model)
    assert model(tensor(5.0)).item() == 34.0


def test_the_probe_is_taken_before_the_audio():
    seen = []

    class Seen(rivals.DiCache):
        def probe(self, tokens, probe):
            seen.append((tokens.item(), probe.item()))
            return super().probe(tokens, probe)

    cache = Seen(3, warm=1, threshold=1e9)
    with hooked(model := ToyTrunk(), cache):
        cache.step()
        model(tensor(1.0))
    assert seen == [(1.0, 2.0)] and cache._now["cond"].item() == 1.0
