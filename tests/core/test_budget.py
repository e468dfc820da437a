"""The byte budget: what is held of all that is stored, when branches appear late, and what is foretold."""

import pytest
import torch

from demo.live_toys import toy_live_case, toy_packed_case
from demo.toys import toy_case
from synccache_core.contract.case import running

EVERY_FOURTH = tuple(index % 4 == 0 for index in range(12))
ONE = 6 * 8 * 4  # bytes of a toy's residual, six tokens of eight channels; there are three


def predicted(case, **settings):
    """The report of a run whose sampler's outputs go through the session."""
    x, audio = case.tensors(0)
    mask = torch.zeros(1, 2, 3) if settings.get("live") else None
    if mask is not None:
        mask[0, 0, 0] = 1
    with torch.no_grad(), running(case, mask, schedule=EVERY_FOURTH, live_reach=0, **settings) as session:
        for sigma in case.sigmas[:-1]:
            session.predict(sigma, lambda sigma=sigma: case.call(case.model, x + sigma, sigma, audio))
    return session.report


@pytest.mark.parametrize(
    ("case", "settings", "all_of_it"),
    [(toy_live_case, {"live": True}, 696), (toy_packed_case, {}, 720)],  # 120 of five rows inside segments; 144 of eight
    ids=["live", "beside"],
)
def test_residuals_and_what_is_inside_them_share_the_budget(case, settings, all_of_it):
    free = predicted(case(), level="residual", **settings)
    assert free.bytes_held == free.bytes_predicted == all_of_it and free.limit is None
    for budget, groups in ((all_of_it, 3), (3 * ONE, 3), (3 * ONE + 50, 3), (400, 2), (ONE, 1), (ONE - 1, 0)):
        report = predicted(case(), level="residual", memory_budget=budget, **settings)
        assert report.groups == groups and (report.reused > 0) == (groups > 0)
        assert report.bytes_held == report.bytes_predicted <= budget == report.limit
    assert predicted(case(), level="residual", memory_budget=all_of_it, **settings).bytes_held == all_of_it


def test_outputs_and_the_residuals_of_live_steps_share_the_budget():
    outputs = 2 * ONE  # two anchors

    def case():
        made = toy_live_case()
        made.call = lambda model, *given: model(*given).transpose(1, 2).reshape(1, 8, 1, 2, 3)
        return made

    free = predicted(case(), level="output", live=True, forecast_order=1)
    assert free.bytes_held == free.bytes_predicted > outputs + 3 * 2 * ONE
    for budget, groups in ((outputs + 3 * ONE, 3), (outputs + 400, 2), (outputs + ONE - 1, 0)):
        report = predicted(case(), level="output", live=True, forecast_order=1, memory_budget=budget)
        assert report.groups == groups and report.bytes_held == report.bytes_predicted <= budget


def test_what_correction_holds_beside_residuals_is_no_part_of_it():
    """Two anchors and the sum of the gap, of outputs in float32."""
    settings = {"level": "residual", "correction": True, "forecast_order": 1}
    for budget, groups in ((None, 3), (600, 3), (400, 2)):
        report = predicted(toy_case(), memory_budget=budget, **settings)
        assert (report.groups, report.order) == (groups, 0 if budget else 1)
        assert report.bytes_held == report.bytes_predicted == groups * (report.order + 1) * ONE + 3 * ONE
        limit = None if budget is None else budget + 3 * ONE
        assert report.correction_bytes == 3 * ONE and report.limit == report.live(12)["limit"] == limit


def second_branch_late(budget, case=toy_case, **settings):
    """Letters of the steps and the report, where a second branch appears at evaluation 3 of 12."""
    case = case()
    x, audio = case.tensors(0)
    with torch.no_grad(), running(case, target_speedup=3.0, memory_budget=budget, **settings) as session:
        for index, sigma in enumerate(case.sigmas[:-1]):
            with session.evaluation(sigma):
                for branch in ("cond", "uncond")[: 1 + (index > 2)]:
                    with session.branch(branch):
                        case.call(case.model, x + sigma, sigma, audio)
    return "".join(step.action[0] for step in session.report.steps), session.report


@pytest.mark.parametrize(
    ("residuals", "steps", "groups", "order"),
    [(12, "ccrrcrcrrrrc", 3, 1), (11, "ccrrcrcrrrrc", 3, 0), (6, "ccrrcrcrrrrc", 3, 0), (5, "ccrrcrcrrrrc", 2, 0),
     (2, "ccrrcrcrrrrc", 1, 0), (1, "ccrrcccccccc", 0, 0)],
)  # fmt: skip
def test_a_branch_that_appears_late_is_fitted_in(residuals, steps, groups, order):
    """Three residuals of two anchors for either branch; `residuals` of all these fit."""
    budget = residuals * ONE
    did, report = second_branch_late(budget, forecast_order=1)
    assert (did, report.groups, report.order, report.branches) == (steps, groups, order, 2)
    assert report.bytes_held <= budget and not any("stopped" in note for note in report.notes)
    assert any("nothing is cached" in note for note in report.notes) == (not groups)


def test_a_late_branch_takes_the_room_of_what_is_inside_segments():
    """144 bytes of a branch lie inside segments."""
    free = second_branch_late(None, toy_packed_case)[1].bytes_held
    assert free == 2 * (3 * ONE + 144)
    did, report = second_branch_late(6 * ONE + 150, toy_packed_case)
    assert did == "ccrrcrcrrrrc" and 6 * ONE < report.bytes_held <= 6 * ONE + 150


def test_another_size_in_the_run_is_fitted_in():
    case = toy_case()
    (x, audio), (both, sound) = case.tensors(0), case.tensors(0, batch=2)
    settings = {"schedule": tuple(index in (0, 1, 5, 6) for index in range(12)), "memory_budget": 4 * ONE}
    with torch.no_grad(), running(case, **settings) as session:
        for index, sigma in enumerate(case.sigmas[:-1]):
            with session.evaluation(sigma):
                case.call(case.model, (x if index < 5 else both) + sigma, sigma, audio if index < 5 else sound)
    report = session.report
    assert "".join(step.action[0] for step in report.steps) == "ccrrrccrrrrc"
    assert report.groups == 2 and report.bytes_held == 4 * ONE
