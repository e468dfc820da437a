"""A ComfyUI server, its own editor in a headless Chromium, and what must not be on the console afterwards."""

from contextlib import ExitStack, contextmanager

import pytest

from tests.host.running import served_by
from tests.web.browser import FLAGS, find_chromium
from tests.web.editor import Editor

# aiohttp 3.14 serves no folder whose name needs quoting (its issue 13433), so no space in this one; `base` has one.
PACK = "ComfyUI-SyncCache"
RENDERERS = {"canvas": False, "nodes2": True}  # Comfy.VueNodes.Enabled
# Few pictures a second and no animations: without a GPU the browser would take the processor that the server needs.
SETTINGS = {"Comfy.TutorialCompleted": False, "LiteGraph.Canvas.MaximumFps": 15, "Comfy.Locale": "en"}
LOOKS = {"viewport": {"width": 1600, "height": 1000}, "reduced_motion": "reduce"}
PATIENCE_MS = 600_000  # Nodes 2.0 without a GPU takes a minute for a large graph on a busy machine
# (part of the address, part of the text) of what a plain ComfyUI puts onto the console by itself.
NOISE = (
    ("/user.css", "404"),  # the user's own style sheet, asked for whether there is one or not
    ("/api/userdata", "404"),  # the same for saved workflows, subgraphs and the index of templates
    ("/favicon.ico", "404"),
    ("/assets/", "ComfyApp graph accessed before initialization"),  # at every start of the editor
    # The size of a missing model, asked from its site, which --disable-api-nodes forbids.
    ("/assets/missingModelMetadata", "Content Security Policy"),
)


@contextmanager
def browser():
    # Here, since playwright may be missing where these tests are skipped.
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="package")
def chromium():
    with browser() as running:
        yield running


@contextmanager
def editor_in(browser, server, renderer: str, blocked: str = ""):
    """An editor as on its first start. Errors on its console fail the test when it ends.

    blocked: pattern of addresses that are not served.
    """
    server.post("/settings", {"Comfy.VueNodes.Enabled": RENDERERS[renderer], **SETTINGS})
    context = browser.new_context(**LOOKS)
    try:
        context.set_default_timeout(PATIENCE_MS)
        if blocked:
            context.route(blocked, lambda route: route.abort())
        editor = Editor(context.new_page(), server, renderer, PACK, list(NOISE))
        editor.start()
        yield editor
    finally:
        context.close()
    editor.expect_silence()


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    with served_by(tmp_path_factory.mktemp("comfy web"), PACK) as running:
        yield running


@pytest.fixture
def open_editor(chromium, server):
    """open_editor(renderer, blocked): see `editor_in`, until the test ends."""
    with ExitStack() as opened:
        yield lambda renderer, blocked="": opened.enter_context(editor_in(chromium, server, renderer, blocked))


@pytest.fixture(params=RENDERERS)
def editor(request, open_editor):
    return open_editor(request.param)


@pytest.fixture(scope="module", params=RENDERERS)
def shared_editor(request, chromium, server):
    """One for all tests of a module: to start an editor takes longer than most of them."""
    with editor_in(chromium, server, request.param) as editor:
        yield editor
