"""The pack in ComfyUI's own editor, in a browser: templates, the strip of SyncCache, its widgets, reloading."""

import re

import pytest

from tests.host.test_workflows import FAMILY, lacking, saved
from tests.web.editor import NODE, SEEDS, WORKFLOWS

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TEMPLATES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
COMPLETE = ("calibrate_and_plan", "compare", "human_mask", "tiny_talker")  # with models that come with the pack
STEPS = 10
BOTH = pytest.mark.parametrize("editor", ["canvas", pytest.param("nodes2", marks=pytest.mark.once)], indirect=True)


def talker_in(editor):
    """Tiny Talker, in short."""
    editor.open_template("tiny_talker")
    editor.shorten(STEPS)
    editor.set_value("KSampler", "seed", next(SEEDS))
    editor.look_at("SyncCache")
    return editor


@pytest.fixture
def talker(editor):
    return talker_in(editor)


def run(editor) -> dict:
    """Steps, computed and reused, as the server's report gives them."""
    text = editor.run()["outputs"][editor.node_id("SyncCacheReport")]["text"][0]
    steps, computed, reused = re.search(r"(\d+) steps: (\d+) computed, (\d+) reused", text).groups()
    return {"data-steps": steps, "data-computed": computed, "data-reused": reused}


def expect_counts(editor, counts: dict):
    for name, value in counts.items():
        editor.expect(editor.part("SyncCache", "counts")).to_have_attribute(name, value)


@BOTH
def test_every_template_opens(editor):
    """But those of models that came after the ComfyUI; in Nodes 2.0, where one takes seconds, if a node of ours is new."""
    info = editor.server.get("/object_info")
    later = {name for name in FAMILY if lacking(saved(name), info)}
    shown = set()
    for name in sorted(TEMPLATES, key=lambda name: name not in COMPLETE):
        kinds = {node["type"] for node in saved(name)["nodes"] if node["type"].startswith("SyncCache")}
        if name in later or editor.renderer == "nodes2" and kinds <= shown:
            continue
        shown |= kinds
        editor.open_template(name)
        editor.rest(1000)  # complaints come a moment later
        editor.shot(f"template-{name}")
        assert editor.unknown_nodes() == [], name
        complaint = editor.page.get_by_test_id("error-overlay")
        if complaint.count():  # models, which are not here
            assert name not in COMPLETE and not re.search("missing node|nodes are missing", complaint.inner_text(), re.I)
            editor.page.get_by_test_id("error-overlay-dismiss").click()


@BOTH
def test_the_strip_grows_with_a_run_and_is_there_after_a_reload(talker):
    talker.drag_slider("SyncCache", "target_speedup", 2.5)
    settings = talker.values("SyncCache")
    talker.watch(talker.part("SyncCache", "counts"))
    counts = run(talker)
    expect_counts(talker, counts)
    talker.shot("run")
    final = talker.part("SyncCache", "counts").inner_text()
    assert len({*talker.watched()} - {final, ""}) >= 2
    cells = talker.cells("SyncCache", "cells")
    assert len(cells) == STEPS == int(counts["data-steps"])
    assert (cells.count("c"), cells.count("r")) == (int(counts["data-computed"]), int(counts["data-reused"]))
    talker.expect(talker.part("SyncCache", "recognised")).to_contain_text("blocks, 6 audio refreshes")
    talker.expect(talker.part("SyncCache", "memory")).to_contain_text("iB")

    talker.reload()
    talker.look_at("SyncCache")
    talker.expect(talker.part("SyncCache", "counts")).to_have_text(final)
    talker.shot("reloaded")
    assert talker.cells("SyncCache", "cells") == cells
    assert talker.values("SyncCache") == settings and settings["preset"] == "Custom"
    talker.set_value("SyncCache", "warmup", STEPS)
    talker.expect(talker.part("SyncCache", "prediction")).to_contain_text(f"{STEPS} of {STEPS} steps")


@pytest.mark.once
def test_strip_and_report_speak_the_language_of_the_editor(talker):
    """What the script says, and what Python says, in the nodes that show it, also after a change of language, for which
    the editor reloads the workflow; what a node gives on is English.
    """
    talker.set_value("KSampler", "steps", 4)
    talker.speak("ja")
    report = talker.run()["outputs"][talker.node_id("SyncCacheReport")]
    told = "提案：target_speedup を 1（オフ）にしてください。4 ステップは少なく"
    talker.expect(talker.part("SyncCache", "notes")).to_contain_text(told)
    talker.expect(talker.part("SyncCache", "recognised")).to_contain_text("音声リフレッシュ 6 箇所")
    talker.shot("japanese")
    talker.look_at("SyncCacheReport")
    reported = talker.page.get_by_text("4 ステップ：計算 2、再利用 2（計算の予算 2）")
    talker.expect(reported.locator("visible=true").first).to_be_visible()
    talker.expect(talker.page.get_by_text("4 steps: 2 computed").locator("visible=true")).to_have_count(0)
    talker.shot("japanese-report")
    talker.speak("zh")
    talker.expect(reported.locator("visible=true")).to_have_count(0)
    talker.expect(talker.page.get_by_text("4 步：计算 2，复用 2").locator("visible=true").first).to_be_visible()
    assert "4 steps: 2 computed, 2 reused (budget 2)" in report["text"][0]


@pytest.mark.once
def test_a_run_is_shown_in_its_own_workflow(talker):
    """What it told is told again, as of a second run, once another workflow is open, whose node of that id is one, too."""
    node, counts = talker.node_id("SyncCache"), talker.part("SyncCache", "counts")
    own = talker.page.evaluate("app.rootGraph.id")
    talker.page.evaluate("window.told = []; app.api.addEventListener('synccache', event => told.push(event.detail))")
    text = talker.run()["outputs"][talker.node_id("SyncCacheReport")]["text"][0].splitlines()[1]
    talker.expect(counts).to_contain_text(f"{STEPS} of {STEPS} steps")
    talker.page.wait_for_function("told.at(-1).lines !== undefined")  # of the report, the last to tell
    assert {*talker.page.evaluate("told.map(event => event.workflow)")} == {own}

    talker.open_template("compare")
    talker.page.wait_for_function("own => app.rootGraph.id !== own", arg=own)
    talker.look_at("SyncCache")
    assert talker.node_id("SyncCache") == node
    second = "told.map(event => event.run ? {...event, run: {...event.run, number: 2}} : event)"
    talker.page.evaluate(f"{second}.forEach(event => app.api.dispatchCustomEvent('synccache', event))")
    talker.expect(counts).to_be_empty()
    talker.shot("other-workflow")
    assert talker.page.evaluate(f"type => {NODE}.properties.synccache?.run ?? null", "SyncCache") is None

    talker.open_tab("tiny_talker")
    talker.look_at("SyncCache")
    talker.expect(counts).to_contain_text(f"run 2: {STEPS} of {STEPS} steps")
    talker.look_at("SyncCacheReport")
    talker.expect(talker.page.get_by_text(text).locator("visible=true").first).to_be_visible()
    talker.shot("own-workflow")


@pytest.mark.once
def test_a_workflow_opens_without_our_script(talker, open_editor):
    """As in a ComfyUI that serves no file of the pack: the widgets keep their values, the rest is not there."""
    talker.drag_slider("SyncCache", "target_speedup", 2.5)
    bare = open_editor(talker.renderer, blocked="**/synccache.js*")
    bare.noise += [("/synccache.js", "Failed to load resource"), ("/assets/", "/synccache.js")]
    bare.page.evaluate("saved => app.loadGraphData(saved)", talker.page.evaluate("app.graph.serialize()"))
    bare.look_at("SyncCache")
    bare.shot("without")
    bare.expect(bare.page.locator(".synccache-strip")).to_have_count(0)
    for kind in ("SyncCache", "KSampler", "SyncCacheReport"):
        values, before = bare.values(kind), talker.values(kind)  # fewer: our script has a widget of its own
        assert values == {name: before[name] for name in values}
    assert bare.value("SyncCache", "preset") == "Custom" and bare.value("KSampler", "steps") == STEPS
