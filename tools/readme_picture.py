"""README's first screen as a browser shows it: `python -m tools.readme_picture` writes docs/readme.webp.

Rendered by markdown-it, which comes with diffusers, in the Chromium of the browser tests: what `make test` sets up.
"""

import io
import sys
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

from tests.web.conftest import browser

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "readme.webp"
SCREEN = {"width": 1000, "height": 1250}
MOMENT_S = 6  # into the film, when the strip has grown
STYLE = """body { max-width: 900px; margin: 24px auto; font: 16px/1.5 system-ui, sans-serif; color: #1f2328; }
img { max-width: 100%; } code { background: #eff1f3; padding: .2em .4em; border-radius: 6px; font-size: 85%; }
h1, h2 { border-bottom: 1px solid #d1d9e0; padding-bottom: .3em; } a { color: #0969da; text-decoration: none; }
table { border-collapse: collapse; } td, th { border: 1px solid #d1d9e0; padding: 6px 13px; }"""


def page(markdown: str) -> str:
    """HTML whose pictures are looked for beside it."""
    body = MarkdownIt("commonmark").enable("table").render(markdown)
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{body}'


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        file = Path(folder) / "readme.html"
        file.write_text(page((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8")
        (Path(folder) / "docs").symlink_to(ROOT / "docs")
        shown = chromium.new_page(viewport=SCREEN)
        shown.goto(file.as_uri())
        shown.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth)")
        shown.wait_for_timeout(1000 * MOMENT_S)
        with Image.open(io.BytesIO(shown.screenshot())) as picture:
            picture.convert("RGB").save(FILE, quality=60, method=6)


if __name__ == "__main__":
    sys.exit(main())
