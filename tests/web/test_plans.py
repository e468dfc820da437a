"""The plan in the editor: a point of the front is chosen with mouse or keyboard, and the next run makes that plan."""

import pytest

from tests.web.editor import EVIL, SEEDS

pytestmark = [pytest.mark.browser, pytest.mark.once, pytest.mark.slow]
OPTIMIZER = "SyncCacheScheduleOptimizer"
STEPS = 12


@pytest.fixture
def planner(editor):
    editor.open_template("calibrate_and_plan")
    editor.shorten(STEPS)
    editor.set_value("KSampler", "seed", next(SEEDS))
    editor.set_value(OPTIMIZER, "name", EVIL)
    editor.look_at(OPTIMIZER)
    return editor


def plan_of(editor, entry: dict) -> dict:
    """What the server showed of the plan that it made."""
    return entry["outputs"][editor.node_id(OPTIMIZER)]["synccache_plan"][0]


def expect_plan(editor, cells: str):
    """The timeline is drawn a moment after the server is done."""
    drawn = "([part, cells]) => [...part.querySelectorAll('[data-step]')].map(s => s.dataset.action[0]).join('') === cells"
    timeline = editor.part(OPTIMIZER, "timeline").element_handle()
    editor.page.wait_for_function(drawn, arg=[timeline, cells])


def test_a_point_of_the_front_becomes_the_plan(planner):
    made = plan_of(planner, planner.run())
    front, points = made["front"], planner.part(OPTIMIZER, "front").locator("[data-point]")
    expect_plan(planner, made["cells"])
    planner.shot("plan")
    assert len(made["cells"]) == STEPS and len(front) == points.count() >= 3
    slowest, fastest = points.first, points.last
    summary = planner.part(OPTIMIZER, "summary").inner_text()

    fastest.click()
    expect_plan(planner, front[-1]["cells"])
    planner.expect(planner.part(OPTIMIZER, "summary")).not_to_have_text(summary)
    planner.expect(fastest).to_have_attribute("aria-pressed", "true")
    planner.shot("plan-fastest")
    assert planner.value(OPTIMIZER, "target_speedup") == front[-1]["target"]

    for key, point, wanted in (("Enter", slowest, front[0]), (" ", points.nth(1), front[1])):
        point.focus()
        planner.page.keyboard.press(key)
        expect_plan(planner, wanted["cells"])
        assert planner.value(OPTIMIZER, "target_speedup") == wanted["target"]

    again = plan_of(planner, planner.run())
    assert {key: again[key] for key in front[1]} == front[1]
    expect_plan(planner, again["cells"])
    planner.shot("plan-again")
    assert planner.page.locator(".synccache-plan img").count() == 0 and planner.page.evaluate("window.hurt") is None
