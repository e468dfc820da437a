"""Writes the shared workflows: `python -m tools.make_workflows`, and with --pictures their thumbnails as well.

Thumbnails are frames of real runs in ComfyUI, minutes on two cores. Where a workflow wants the 14-billion model, the Tiny
Talker takes the loaders' places. The graphs: tools/workflows/graphs.py. Beside it: notes.md, their notes, and the kinds of
nodes, kinds.txt: name, size, inputs -> outputs.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .workflows.graph import Graph
from .workflows.graphs import workflows

FOLDER = Path(__file__).resolve().parents[1] / "workflows"
BACK, LANCZOS = (21, 25, 33), Image.Resampling.LANCZOS


def stand_in(prompt: dict) -> dict:
    """A prompt for the real model with the Tiny Talker in the loaders' place, in its size, with speech for eight chunks.

    Its first picture is noise: the Tiny Talker's first latent frame does stand for one picture.
    """
    outputs = {"UNETLoader": 0, "VAELoader": 1, "AudioEncoderEncode": 4, "LoadImage": 5, "LoadAudio": 6}
    kinds = {key: node["class_type"] for key, node in prompt.items()}
    gone = {*outputs, "CLIPLoader", "AudioEncoderLoader", "CLIPTextEncode"}
    made = {
        "a": {"class_type": "SyncCacheTinyTalker", "inputs": {}},
        **{key: {"class_type": "AudioConcat", "inputs": {"audio1": sound, "audio2": sound, "direction": "after"}}
           for key, sound in (("two", ["a", 6]), ("four", ["two", 0]), ("eight", ["four", 0]))},
        "c": {"class_type": "SyncCacheTinyTalker", "inputs": {"audio": ["eight", 0]}},
    }
    for key, node in prompt.items():
        if kinds[key] in gone:
            continue
        inputs = dict(node["inputs"])
        for name, value in inputs.items():
            source = kinds[value[0]] if isinstance(value, list) else None
            if source in gone:
                inputs[name] = ["c", outputs.get(source, {"positive": 2, "negative": 3}.get(name))]
        small = {"width": 96, "height": 96, "length": 33} if kinds[key].startswith("WanSound") else {}
        small = {"cfg": 2.0} if kinds[key] == "KSampler" else small
        inputs |= {name: value for name, value in small.items() if name in inputs}
        made[key] = {"class_type": kinds[key], "inputs": inputs}
    return made


class Show:
    """The pictures of a run that went well: base is the server's folder, entry its record."""

    def __init__(self, graph: Graph, base: Path, entry: dict):
        self.graph, self.base, self.entry = graph, base, entry

    def files(self, kind: str, title=None) -> list[Path]:
        """What the node of a kind and a title wrote."""
        node = next(n for n in self.graph.nodes if n["type"] == kind and n.get("title") == title)
        shown = self.entry["outputs"][str(node["id"])]["images"]
        return [self.base / image["type"] / image["subfolder"] / image["filename"] for image in shown]

    def preview(self, title: str, number=0) -> Image.Image:
        return Image.open(self.files("PreviewImage", title)[number]).convert("RGB")

    def frames(self, *numbers: int, title=None) -> list[Image.Image]:
        """Frames of the video of a Save Video node."""
        import av  # ComfyUI brings it; where there is none, nothing is painted

        with av.open(self.files("SaveVideo", title)[0]) as film:
            pictures = [frame.to_image() for frame in film.decode(video=0)]
        return [pictures[number] for number in numbers]


def stacked(*pictures: Image.Image) -> Image.Image:
    """Square pictures above each other."""
    sheet = Image.new("RGB", (384, 392 * len(pictures) - 8), BACK)
    for i, picture in enumerate(pictures):
        sheet.paste(picture.resize((384, 384), LANCZOS), (0, 392 * i))
    return sheet


def sheet(caption: str, *rows: Sequence[Image.Image], width=640, gap=8, foot=28) -> Image.Image:
    """Rows of pictures, each as wide as the sheet, and a line of text below."""
    placed, y = [], gap
    for row in rows:
        height = round((width - gap * (len(row) + 1)) / sum(p.width / p.height for p in row))
        x = gap
        for picture in row:
            placed.append((picture.resize((round(height * picture.width / picture.height), height), LANCZOS), (x, y)))
            x += placed[-1][0].width + gap
        y += height + gap
    made = Image.new("RGB", (width, y + foot), BACK)
    for picture, corner in placed:
        made.paste(picture, corner)
    ImageDraw.Draw(made).text((gap + 2, y + foot // 2 - 4), caption, "#eceff4", ImageFont.load_default(15), "lm")
    return made


SPOKEN = (2, 5, 10, 19)  # frames with the mouth in different places
THUMBNAILS = {
    "tiny_talker": lambda s: sheet(
        "Tiny Talker: plain above, SyncCache below", s.frames(*SPOKEN, title="Save Video · plain"),
        s.frames(*SPOKEN, title="Save Video · SyncCache")),
    "calibrate_and_plan": lambda s: sheet(
        "Tiny Talker: a plan, and another seed sampled with it", [s.preview("Chart"), stacked(*s.frames(5, 10))]),
    "human_mask": lambda s: sheet(
        "Tiny Talker: what reused steps had to bridge, the mask, a frame",
        [s.preview("Heat map"), stacked(s.preview("Overlay"), *s.frames(5))]),
    "wan22_s2v": lambda s: sheet(
        "The same graph with the Tiny Talker, 20 steps", [stacked(*s.frames(5, 10)), s.preview("Timeline")]),
    "wan22_s2v_extend": lambda s: sheet(
        "The same graph with the Tiny Talker: first and second chunk", s.frames(*SPOKEN),
        s.frames(39, 43, 54, 60)),
    "wan22_s2v_40_steps": lambda s: sheet(
        "The same graph with the Tiny Talker, 40 steps", [s.preview("Timeline"), stacked(*s.frames(5, 10))]),
}  # fmt: skip


def paint(names: Sequence[str]) -> None:
    """Run workflows, all where none is named, and write their thumbnails."""
    from tests.host.running import launched, run
    from tests.host.test_workflows import queued
    from tools.more_workflows import THUMBNAILS as MORE

    with tempfile.TemporaryDirectory() as folder, launched(Path(folder), loops=True) as server:
        info = server.get("/object_info")
        made = workflows()
        for name in names or made:
            graph = made[name]
            prompt = queued(json.loads(graph.text()), info)
            entry = run(server, stand_in(prompt) if name.startswith("wan22") else prompt)
            (THUMBNAILS | MORE)[name](Show(graph, server.base, entry)).save(FOLDER / f"{name}.jpg", quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", nargs="*", metavar="NAME", help="also run them, or these, and write the thumbnails")
    wanted = parser.parse_args()
    for name, graph in workflows().items():
        (FOLDER / f"{name}.json").write_text(graph.text(), encoding="utf-8")
    if wanted.pictures is not None:
        paint(wanted.pictures)


if __name__ == "__main__":
    main()
