"""Pictures of our nodes in ComfyUI's editor: `python -m tools.editor_pictures [NAME ...]` writes docs/NAME.webp;
"run" moves.

A real ComfyUI, its editor in a headless Chromium, shipped templates, real runs: minutes on two cores. Needs what `make test`
sets up.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.host.running import served_by
from tests.web.conftest import PACK, browser, editor_in
from tests.web.editor import Editor
from tools import editor_film

DOCS = Path(__file__).resolve().parents[1] / "docs"
VIEW = {"width": 1500, "height": 1500}  # a node fits in, clear of the editor's bars
BACK, GAP = "#1e1e1e", 12  # of the canvas; px
STEPS = 20


def beside(*pictures: Image.Image) -> Image.Image:
    """From left to right, their upper edges level."""
    width = sum(picture.width + GAP for picture in pictures) + GAP
    sheet, x = Image.new("RGB", (width, max(picture.height for picture in pictures) + 2 * GAP), BACK), GAP
    for picture in pictures:
        sheet.paste(picture, (x, GAP))
        x += picture.width + GAP
    return sheet


def ran(editor: Editor, template: str, kinds: dict[str, int]) -> list[Image.Image]:
    """Nodes of a template after a run. kinds: {node: its height in px, 0 = as in the file}."""
    editor.open_template(template)
    editor.set_value("KSampler", "steps", STEPS)
    editor.run()
    for kind, height in kinds.items():
        editor.resize(kind, height)
    return [editor.picture(kind) for kind in kinds]


PICTURES = {  # name: [(template, nodes)]
    "editor": [("tiny_talker", {"SyncCache": 440}), ("calibrate_and_plan", {"SyncCacheScheduleOptimizer": 0})],
    "compare": [("compare", {"SyncCacheCompare": 0})],
}
FILM = "run"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.editor_pictures", description=__doc__.splitlines()[0])
    every = [*PICTURES, FILM]
    told = f"{', '.join(every)}; all where none is named"
    parser.add_argument("names", nargs="*", choices=[[], *every], metavar="NAME", help=told)
    names = parser.parse_args().names or every
    with tempfile.TemporaryDirectory() as folder, served_by(Path(folder), PACK) as server, browser() as chromium:
        for name in names:
            if name == FILM:
                with editor_in(chromium, server, "nodes2") as editor:
                    events = editor_film.told(editor)
                with editor_in(chromium, server, "nodes2") as editor:
                    editor_film.write(editor_film.filmed(editor, events), DOCS / f"{FILM}.webp")
                continue
            made = []
            for template, kinds in PICTURES[name]:
                with editor_in(chromium, server, "nodes2") as editor:
                    editor.page.set_viewport_size(VIEW)
                    made += ran(editor, template, kinds)
            beside(*made).save(DOCS / f"{name}.webp", quality=75, method=6)


if __name__ == "__main__":
    sys.exit(main())
