"""What a person does in ComfyUI's editor, in both of its renderers."""

import io
import json
from contextlib import suppress
from itertools import count

from PIL import Image

from demo.find_host import find_host, host_version
from tests.conftest import ROOT
from tests.host.running import finished
from tests.host.workflow import LENGTH

WORKFLOWS = ROOT / "workflows"
# A click on a template that asks for no file is lost, as some are on a busy machine.
LOST_MS, LOOK_MS, CLICKS = 10_000, 100, 20
SEEDS = count(100)  # ComfyUI runs nothing again that it has run: each run of a test needs a seed of its own
EVIL = "<img src=x onerror='window.hurt = true'>"
NODE = "(app.graph.nodes.find(node => node.type === type))"
WIDGET = f"{NODE}.widgets.find(widget => widget.name === name)"
# Where a slider of the canvas is for its value, and for another: the knob runs 15 from either edge of its node.
CANVAS_SLIDER = f"""([type, name, value]) => {{
    const node = {NODE}, widget = {WIDGET}, options = widget.options
    const at = value => app.canvasPosToClientPos([
        node.pos[0] + 15 + (node.size[0] - 30) * (value - options.min) / (options.max - options.min),
        node.pos[1] + widget.last_y + 10])
    return [at(widget.value), at(value)]
}}"""
VUE_SLIDER = """([slider, value]) => {
    const box = slider.getBoundingClientRect(), thumb = slider.querySelector("[role=slider]")
    const low = Number(thumb.ariaValueMin), high = Number(thumb.ariaValueMax)
    const at = value => [box.x + box.width * (value - low) / (high - low), box.y + box.height / 2]
    return [at(Number(thumb.ariaValueNow)), at(value)]
}"""
CANVAS_WIDGET = f"""([type, name]) => {{
    const node = {NODE}
    return app.canvasPosToClientPos([node.pos[0] + node.size[0] / 2, node.pos[1] + {WIDGET}.last_y + 10])
}}"""
NODE_BOX = f"""type => {{
    const node = {NODE}, [x, y] = node.pos
    const corners = [[x, y - LiteGraph.NODE_TITLE_HEIGHT], [x + node.size[0], y + node.size[1]]]
    return corners.flatMap(at => app.canvasPosToClientPos(at))
}}"""
# Texts change many times in a short run: too often for questions from outside the browser.
WATCH = """element => {
    window.watched = []
    const note = () => window.watched.push(element.textContent)
    new MutationObserver(note).observe(element, {subtree: true, childList: true, characterData: true})
}"""


class Editor:
    """One page with ComfyUI in it.

    renderer: "canvas" or "nodes2". noise: (part of the address, part of the text) of console errors to overlook.
    """

    def __init__(self, page, server, renderer: str, pack: str, noise: list[tuple[str, str]]):
        self.page, self.server, self.renderer, self.pack, self.noise = page, server, renderer, pack, noise
        self.complaints: list[tuple[str, str]] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(("", str(error))))

    def _console(self, message):
        if message.type == "error":
            self.complaints.append((message.location.get("url", ""), message.text))

    def expect_silence(self):
        """No error on the console but the editor's own."""
        told = [(url, text) for url, text in self.complaints if not any(a in url and b in text for a, b in self.noise)]
        assert not told, told

    def start(self):
        """The first start ever shows the templates over an empty graph: put them away."""
        self.page.goto(self.server.url)
        templates = self.page.get_by_role("dialog")
        templates.get_by_text("All Templates").first.wait_for()
        self.page.keyboard.press("Escape")
        templates.wait_for(state="hidden")

    def reload(self):
        """Once the editor has written its draft, which it does half a second after a change."""
        self.rest(2000)
        self.page.reload()
        self.page.wait_for_function("window.app?.graph?.nodes.length > 0")
        self.rest(1000)  # it opens the graph, and then the tab that the graph belongs to

    def rest(self, milliseconds: int):
        """By the clock of the page: what it does after a shorter delay is done then, however slow the machine is."""
        self.page.evaluate("time => new Promise(done => setTimeout(done, time))", milliseconds)

    def speak(self, language: str):
        """From now on, as the setting Comfy.Locale does it."""
        self.page.evaluate("language => app.extensionManager.setting.set('Comfy.Locale', language)", language)

    def open_template(self, name: str):
        self.page.get_by_role("button", name="Templates", exact=True).click()
        templates = self.page.get_by_role("dialog")
        templates.get_by_text(self.pack, exact=True).first.click()
        self._click_until_asked(templates.get_by_test_id(f"template-workflow-{name}"), f"/{name}.json")
        templates.wait_for(state="hidden")
        nodes = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
        self.page.wait_for_function("count => app.graph.nodes.length === count", arg=len(nodes))

    def open_tab(self, name: str):
        """Of a workflow that is open already."""
        self.page.locator(".workflow-tabs").get_by_text(name, exact=True).first.click()
        self.page.wait_for_function(
            "name => app.extensionManager.workflow.activeWorkflow.path.endsWith(`/${name}.json`)", arg=name
        )

    def _click_until_asked(self, card, ending: str):
        """Until the editor asks for an address of that ending: a slow click must not open the template a second time."""
        from playwright.sync_api import TimeoutError  # may be missing where these tests are skipped

        asked = []

        def note(request):
            if request.url.endswith(ending):
                asked.append(request)

        self.page.on("request", note)
        for _ in range(CLICKS):
            with suppress(TimeoutError):  # the click before was only slow, and the card is gone
                card.click(timeout=LOST_MS)
            for _ in range(LOST_MS // LOOK_MS):
                if asked:
                    break
                self.page.wait_for_timeout(LOOK_MS)
            if asked:
                break
        for request in asked:
            request.response()
        self.page.remove_listener("request", note)

    def look_at(self, kind: str):
        """The first node of a kind, in the middle and full size: far away the canvas draws no widgets."""
        move = f"type => {{ app.canvas.ds.scale = 1; app.canvas.centerOnNode({NODE}); app.canvas.setDirty(true, true) }}"
        self.page.evaluate(move, kind)
        self.rest(500)  # nodes of either renderer find their places within a few frames

    def resize(self, kind: str, height: int):
        """Of the first node of a kind, where a height in px is given."""
        if height:
            self.page.evaluate(f"([type, height]) => {NODE}.setSize([{NODE}.size[0], height])", [kind, height])

    def shot(self, name: str):
        """A picture for people: out/screenshots/<version>/<name>-<renderer>.png."""
        folder = ROOT / "out" / "screenshots" / host_version(find_host())
        self.page.screenshot(path=folder / f"{name}-{self.renderer}.png")

    def picture(self, kind: str):
        """The first node of a kind as it is on the screen, a PIL image."""
        self.look_at(kind)
        if self.renderer == "canvas":
            x, y, right, low = self.page.evaluate(NODE_BOX, kind)
            png = self.page.screenshot(clip={"x": x, "y": y, "width": right - x, "height": low - y})
        else:
            png = self._node(kind).screenshot()
        return Image.open(io.BytesIO(png)).convert("RGB")

    # The graph.

    def node_id(self, kind: str) -> str:
        return self.page.evaluate(f"type => String({NODE}.id)", kind)

    def value(self, kind: str, name: str):
        """Of a widget of the first node of a kind."""
        return self.page.evaluate(f"([type, name]) => {WIDGET}.value", [kind, name])

    def values(self, kind: str) -> dict:
        """Of all widgets."""
        return dict(self.page.evaluate(f"type => ({NODE}.widgets ?? []).map(widget => [widget.name, widget.value])", kind))

    def wait_for_value(self, kind: str, name: str, value):
        self.page.wait_for_function(f"([type, name, value]) => {WIDGET}.value === value", arg=[kind, name, value])

    def set_value(self, kind: str, name: str, value):
        """In every node of a kind, as its widget does it."""
        setting = """([type, name, value]) => {
            for (const node of app.graph.nodes.filter(node => node.type === type)) {
                const widget = node.widgets.find(widget => widget.name === name)
                widget.value = value
                widget.callback?.(value, app.canvas, node)
            }
            const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker
            tracker.captureCanvasState ? tracker.captureCanvasState() : tracker.checkState()
        }"""
        self.page.evaluate(setting, [kind, name, value])

    def shorten(self, steps: int):
        """Fewer steps and frames."""
        self.set_value("KSampler", "steps", steps)
        self.set_value("WanSoundImageToVideo", "length", LENGTH)

    def unknown_nodes(self) -> list[str]:
        """Types in the graph that the editor has no node for."""
        known = "app.graph.nodes.map(node => node.type).filter(type => !LiteGraph.registered_node_types[type])"
        return self.page.evaluate(known)

    def drag_slider(self, kind: str, name: str, value: float):
        """With the mouse, from where it is."""
        if self.renderer == "canvas":
            self._wait_for_drawing(kind, name)
            start, end = self.page.evaluate(CANVAS_SLIDER, [kind, name, value])
        else:
            slider = self._node(kind).locator(f"[data-slot=slider][aria-label={name}]")
            start, end = self.page.evaluate(VUE_SLIDER, [slider.element_handle(), value])
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=6)
        self.page.mouse.up()

    def choose(self, kind: str, name: str, option: str):
        """From a list, with the mouse."""
        if self.renderer == "canvas":
            self._wait_for_drawing(kind, name)
            self.page.mouse.click(*self.page.evaluate(CANVAS_WIDGET, [kind, name]))
            self.page.locator(f'.litemenu-entry[data-value="{option}"]').click()
        else:
            self._node(kind).get_by_role("combobox", name=name).click()
            self.page.get_by_role("option", name=option).click()

    def _wait_for_drawing(self, kind: str, name: str):
        """On the canvas, where a widget has no place before it was drawn."""
        self.page.wait_for_function(f"([type, name]) => {WIDGET}.last_y !== undefined", arg=[kind, name])

    def _node(self, kind: str):
        """Of Nodes 2.0: on the canvas, a node is no element."""
        return self.page.locator(f'.lg-node[data-node-id="{self.node_id(kind)}"]')

    # What the pack shows in its nodes.

    def part(self, kind: str, name: str):
        """A part of the strip or the plan in the first node of a kind."""
        ours = ":is(.synccache-strip, .synccache-plan)"
        return self.page.locator(f'{ours}[data-node-id="{self.node_id(kind)}"] [data-part={name}]')

    def cells(self, kind: str, name: str) -> str:
        """A letter per step of a timeline, c = computed, r = reused, w = waiting."""
        steps = self.part(kind, name).locator("[data-step]")
        return "".join(steps.evaluate_all("steps => steps.map(step => step.dataset.action[0])"))

    def expect(self, locator):
        from playwright.sync_api import expect  # may be missing where these tests are skipped

        return expect(locator)

    # A run.

    def press_run(self) -> str:
        """The id of the prompt that the server got."""
        queued = self.page.expect_response(lambda r: r.url.endswith("/prompt") and r.request.method == "POST")
        with queued as answer:
            self.page.get_by_test_id("queue-button").click()
        return answer.value.json()["prompt_id"]

    def run(self) -> dict:
        """Press Run; the server's record of it when it is done."""
        return finished(self.server, self.press_run())

    def watch(self, locator):
        """Start to keep every text that an element has; see `watched`."""
        self.page.evaluate(WATCH, locator.element_handle())

    def watched(self) -> list[str]:
        return self.page.evaluate("window.watched")
