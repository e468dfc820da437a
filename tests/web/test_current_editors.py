"""A short run through the editors of newer ComfyUIs, on the host at hand: what users of today's ComfyUI see."""

import pytest

from demo.find_host import find_host
from tests.host.running import served_by
from tests.web.browser import NO_EDITOR
from tests.web.conftest import PACK, RENDERERS, editor_in
from tests.web.editor import SEEDS
from tests.web.test_editor import expect_counts, run
from tools.setup_env import CURRENT_EDITORS, editor_folder, pinned_editor

pytestmark = [pytest.mark.browser, pytest.mark.once, pytest.mark.slow]  # newer editors are for newer ComfyUIs
STEPS = 8


@pytest.fixture(scope="module", params=CURRENT_EDITORS)
def current(request, tmp_path_factory):
    """(a server with one of these editors, its version)."""
    if request.param == pinned_editor(find_host()):
        pytest.skip(f"{request.param} is the host's own editor")
    folder = editor_folder(request.param)
    if not folder.is_dir():
        pytest.skip(f"{NO_EDITOR}: {request.param}")
    with served_by(tmp_path_factory.mktemp("comfy current"), PACK, ("--front-end-root", str(folder))) as running:
        yield running, request.param


@pytest.mark.parametrize("renderer", RENDERERS)
def test_template_slider_preset_strip_and_language(chromium, current, renderer):
    """One run, in Japanese, for a report that reads so."""
    server, version = current
    with editor_in(chromium, server, renderer) as editor:
        assert editor.page.evaluate("window.__COMFYUI_FRONTEND_VERSION__") == version
        editor.open_template("tiny_talker")
        assert editor.unknown_nodes() == []
        editor.look_at("SyncCache")
        editor.drag_slider("SyncCache", "target_speedup", 2.5)
        assert editor.value("SyncCache", "preset") == "Custom"
        editor.choose("SyncCache", "preset", "Faithful")
        editor.wait_for_value("SyncCache", "target_speedup", 2)
        editor.speak("ja")  # before steps are set: an editor may read the graph again
        editor.shorten(STEPS)
        editor.set_value("KSampler", "seed", next(SEEDS))
        editor.look_at("SyncCache")
        counts = run(editor)
        expect_counts(editor, counts)
        assert editor.cells("SyncCache", "cells").count("r") == int(counts["data-reused"]) > 0
        editor.expect(editor.part("SyncCache", "prediction")).to_contain_text(f"{STEPS} ステップ中")
        editor.look_at("SyncCacheReport")
        told = f"{STEPS} ステップ：計算 {counts['data-computed']}、再利用 {counts['data-reused']}"
        editor.expect(editor.page.get_by_text(told).locator("visible=true").first).to_be_visible()
        editor.shot(f"current-{version}")
