"""A moving picture of a run in ComfyUI's editor: the graph while the strip grows, then both videos at the same moment.

First a real run is listened to, then the editor is told the same again, piece by piece, so that no picture slows the run.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from tests.host.running import finished
from tests.web.editor import Editor

# Where nodes stand, on an empty part of the canvas: (kind, which of that kind): (x, y, width, height), 0 = as it is.
PLACES = {
    ("SyncCache", 0): (0, 385, 340, 360), ("KSampler", 0): (380, 0, 300, 0), ("KSampler", 1): (380, 385, 300, 0),
    ("SaveVideo", 0): (720, 0, 290, 350), ("SaveVideo", 1): (720, 385, 290, 350),
}  # fmt: skip
VIEW = {"width": 1500, "height": 1100}
AWAY = -5000
LEFT, TOP = 80, 160  # of the first node in the view, px: clear of the editor's bars
CLIP = {"x": LEFT - 16, "y": TOP - 46, "width": 1042, "height": 812}
ARRANGE = """([places, left, top]) => {
    for (const group of [...app.graph._groups]) app.graph.remove(group)
    for (const [kind, nth, x, y, width, height] of places) {
        const node = app.graph.nodes.filter(node => node.type === kind)[nth]
        node.pos = [x, y]
        node.setSize([width, height || node.size[1]])
    }
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [left - places[0][2], top - Math.min(...places.map(place => place[3]))]
    app.canvas.setDirty(true, true)
}"""
RUN = "nth => app.queuePrompt(0, 1, [String(app.graph.nodes.filter(node => node.type === 'SaveVideo')[nth].id)])"
# What the server tells the editor of a run, and when, in seconds.
LISTEN = """kinds => {
    window.told = []
    for (const kind of kinds) app.api.addEventListener(kind, ({ detail }) => {
        window.told.push([performance.now() / 1000, kind, JSON.parse(JSON.stringify(detail ?? null))])
    })
}"""
KINDS = ("execution_start", "progress_state", "executing", "executed", "execution_success", "synccache")
TELL = """async events => {
    for (const [, type, detail] of events) app.api.dispatchCustomEvent(type, detail)
    for (let i = 0; i < 3; i++) await new Promise(done => requestAnimationFrame(done))
}"""
SEEK = """async time => {
    for (const video of document.querySelectorAll("video")) {
        video.controls = false
        video.pause()
        const there = new Promise(done => video.addEventListener("seeked", done, { once: true }))
        video.currentTime = time
        await there
    }
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
}"""
RATE = 16  # frames of the videos per second
FRAMES = 33
PICTURES = 80  # of both runs
RUNS_S, LAST_S = 7.0, 1.5  # how long both runs take in the picture, and how long their end stays
LONGEST = 0.05  # of both runs, for a picture in which nothing moves, such as while frames are decoded
REST_MS = 6000  # until the editor has shown what the last run made
QUALITY, METHOD = 60, 4

Shot = tuple[Image.Image, float]  # and how long it is there, in seconds
Told = list[tuple[float, str, object]]


def told(editor: Editor) -> Told:
    """The Tiny Talker plain, then accelerated: what the editor is told of both runs, undisturbed by pictures of them."""
    arrange(editor)
    editor.page.evaluate(LISTEN, KINDS)
    events: Told = []
    for nth in (0, 1):  # of the nodes that save a video
        with editor.page.expect_response(lambda r: r.url.endswith("/prompt") and r.request.method == "POST") as answer:
            editor.page.evaluate(RUN, nth)
        finished(editor.server, answer.value.json()["prompt_id"])
        editor.rest(REST_MS)
        new = editor.page.evaluate("window.told.splice(0)")
        later = events[-1][0] - new[0][0] if events else -new[0][0]  # the rest between them is left out
        events += [(at + later, kind, detail) for at, kind, detail in new]
    return events


def filmed(editor: Editor, events: Told) -> list[Shot]:
    """Both runs as an editor shows them that is told the same again, then both videos."""
    arrange(editor)
    tick, shots = events[-1][0] / PICTURES, []
    for number in range(PICTURES + 1):
        editor.page.evaluate(TELL, [event for event in events if number - 1 < event[0] / tick <= number])
        shots.append((shot(editor), tick))
    runs = [(picture, min(seconds, LONGEST * PICTURES * tick)) for picture, seconds in merged(shots)]
    shorter = RUNS_S / sum(seconds for _, seconds in runs)
    editor.rest(REST_MS)
    return [*((picture, shorter * seconds) for picture, seconds in runs), (shot(editor), LAST_S), *speaking(editor)]


def arrange(editor: Editor) -> None:
    editor.page.set_viewport_size(VIEW)
    editor.open_template("tiny_talker")
    places = [[*key, x, AWAY + y, width, height] for key, (x, y, width, height) in PLACES.items()]
    editor.page.evaluate(ARRANGE, [places, LEFT, TOP])
    editor.page.mouse.move(1, 1)
    editor.rest(1000)


def shot(editor: Editor) -> Image.Image:
    return Image.open(io.BytesIO(editor.page.screenshot(clip=CLIP))).convert("RGB")


def speaking(editor: Editor) -> Iterator[Shot]:
    for frame in range(FRAMES):
        editor.page.evaluate(SEEK, (frame + 0.5) / RATE)
        yield shot(editor), 1 / RATE


def merged(shots: Iterable[Shot]) -> list[Shot]:
    """Where nothing changed, one that is there as long as all of these."""
    found: list[Shot] = []
    for picture, seconds in shots:
        if found and picture.tobytes() == found[-1][0].tobytes():
            found[-1] = (found[-1][0], found[-1][1] + seconds)
        else:
            found.append((picture, seconds))
    return found


def write(shots: Iterable[Shot], path: Path) -> None:
    """An animated WebP that begins anew."""
    pictures, seconds = zip(*merged(shots))
    lasting = [round(1000 * each) for each in seconds]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=lasting, loop=0, quality=QUALITY, method=METHOD,
        kmax=1 + len(pictures),  # none but the first is whole
    )
