"""Bytes as a person reads them, and the speed that a run in progress will have."""

import pytest

from synccache_core.report.report import RunReport, StepRecord
from synccache_core.units import readable


@pytest.mark.parametrize(("count", "wanted"), [
    (0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.00 KiB"), (82944, "81.00 KiB"), (104858, "0.10 MiB"),
    (319488000, "0.30 GiB"), (14 << 30, "14.00 GiB"),
])  # fmt: skip
def test_bytes_for_a_person(count, wanted):
    assert readable(count) == wanted


def run_of(seconds: str, budget: int = 4) -> RunReport:
    """A report of steps: C = a computed one that takes 3 s, c = 1 s, r = reused in 0.2 s."""
    took = {"C": ("compute", 3.0), "c": ("compute", 1.0), "r": ("reuse", 0.2)}
    steps = [StepRecord(i, 1.0, took[s][0], "schedule", None, 0.0, None, took[s][1]) for i, s in enumerate(seconds)]
    return RunReport("toy", 7, 4, {}, steps=steps, budget=budget, reuse_share=0.05)


def test_the_speed_of_a_run_is_expected_by_its_own_seconds():
    """By operations a reused step costs a twentieth, on the clock a fifth."""
    by_operations, by_seconds = 16 / (4 + 12 * 0.05), 16 / (4 + 12 * 0.2)
    assert run_of("C").speedup_expected(16) is None and run_of("C").share_measured is None
    assert run_of("Cr").speedup_expected(16) == pytest.approx(by_operations)
    assert run_of("Crrc").share_measured == pytest.approx(0.2)
    for done in ("Crrc", "Crrcrrrc", "Crrcrrrcrrrrrrr"):
        report = run_of(done)
        assert report.speedup_expected(16) == report.live(16)["speedup"] == pytest.approx(by_seconds)
    whole = run_of("Crrcrrrcrrrrrrrc")
    assert whole.speedup_expected(16) == whole.speedup_measured and whole.live(16)["took"] == pytest.approx(0.2)


def test_where_a_given_threshold_leaves_the_count_open_the_speed_goes_by_what_was_computed():
    """3 of 8 so far: 6 of 16, and no budget to speak of."""
    report = run_of("Crrcrrrc", budget=0)
    assert report.speedup_expected(16) == pytest.approx(16 / (6 + 10 * 0.2))
    assert report.lines()[1] == "8 steps: 3 computed, 5 reused"
