"""What nodes show in an editor, which the tests share: each opens a tab, and leaves nothing else behind."""

import re

import pytest

from tests.web.editor import EVIL, NODE
from tests.web.test_editor import talker_in

pytestmark = [pytest.mark.browser, pytest.mark.once, pytest.mark.slow]


@pytest.fixture
def editor(shared_editor):
    return shared_editor


@pytest.fixture
def talker(editor):
    return talker_in(editor)


def test_sliders_and_preset_follow_each_other(talker):
    prediction = talker.part("SyncCache", "prediction")
    before = prediction.inner_text()
    talker.drag_slider("SyncCache", "target_speedup", 4.5)
    talker.expect(prediction).not_to_have_text(before)
    talker.shot("dragged")
    assert talker.value("SyncCache", "target_speedup") == pytest.approx(4.5, abs=0.3)
    assert talker.value("SyncCache", "preset") == "Custom"

    talker.drag_slider("SyncCache", "cache_ratio", 0.4)
    assert talker.value("SyncCache", "cache_ratio") < 0.6
    talker.choose("SyncCache", "preset", "Faithful")
    talker.wait_for_value("SyncCache", "target_speedup", 2)
    talker.shot("preset")
    assert [talker.value("SyncCache", name) for name in ("preset", "cache_ratio")] == ["Faithful", 1]


def test_few_steps_are_told_of_before_a_run(talker):
    few = talker.part("SyncCache", "few")
    talker.expect(few).to_be_empty()
    talker.set_value("KSampler", "steps", 4)
    talker.expect(few).to_contain_text("4 steps are few, so there is little to gain")
    talker.shot("few-steps")
    talker.choose("SyncCache", "preset", "Faithful")
    talker.expect(few).not_to_be_empty()
    talker.set_value("KSampler", "steps", 20)
    talker.expect(few).to_be_empty()


def test_markup_in_texts_stays_text(talker):
    """Titles, models' names and remarks come with workflows of strangers."""
    event = {"node": talker.node_id("SyncCache"), "text": EVIL, "recognised": {"model": EVIL, "blocks": 1, "refreshes": 1}}
    talker.page.evaluate("title => { app.graph.nodes.find(n => n.type === 'SyncCache').title = title }", EVIL)
    talker.page.evaluate("event => app.api.dispatchCustomEvent('synccache', event)", event)
    talker.expect(talker.part("SyncCache", "recognised")).to_contain_text("<img")
    talker.shot("markup")
    assert talker.page.locator(".synccache-strip img").count() == 0
    assert talker.page.evaluate("window.hurt") is None


def test_compare_shows_its_verdict_and_its_pictures(editor):
    """Steps of its own for each renderer: ComfyUI runs nothing again that it has run."""
    editor.open_template("compare")
    editor.shorten({"canvas": 4, "nodes2": 5}[editor.renderer])
    editor.look_at("SyncCacheCompare")
    shown = editor.run()["outputs"][editor.node_id("SyncCacheCompare")]
    verdict = shown["text"][0].splitlines()[0]
    assert verdict.startswith("verdict: ")
    told = editor.page.get_by_text(re.compile(f"^{re.escape(verdict)}")).locator("visible=true")  # the JSON holds it, too
    editor.expect(told.first).to_be_in_viewport()  # without scrolling
    drawn = f"type => {NODE}.imgs?.length ?? 0"
    pictures = editor.page.locator(f'.lg-node[data-node-id="{editor.node_id("SyncCacheCompare")}"] img')
    if editor.renderer == "canvas":
        editor.page.wait_for_function(f"type => ({drawn})(type) === 3", arg="SyncCacheCompare")
    else:
        editor.expect(pictures.first).to_be_visible()
    editor.shot("compare")
