"""The shipped workflows: sound as files, accepted by ComfyUI as the editor sends them, and run, each in a small version."""

import json
import math
import re
from itertools import combinations
from urllib.error import HTTPError

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.host.running import run
from tests.host.workflow import EDITOR_ONLY, LENGTH, to_api
from tools.avatar_workflows import FILE_INPUTS
from tools.family_workflows import FILE_INPUTS as FAMILY_FILES
from tools.make_workflows import stand_in, workflows
from tools.more_workflows import CHUNKS
from tools.talk_workflows import FILE_INPUTS as TALK_FILES
from tools.workflows.graph import MUTED, TITLE

pytestmark = [pytest.mark.host]
FOLDER = ROOT / "workflows"
FILES = sorted(path.stem for path in FOLDER.glob("*.json"))
REAL = [name for name in FILES if name.startswith("wan22")]
AVATAR = [name for name in FILES if name.startswith("hunyuan_avatar")]  # run in test_avatar_workflows.py
TALK = [name for name in FILES if name == "infinite_talk"]  # run in test_talk_workflows.py
FAMILY = sorted(FAMILY_FILES)  # run in test_family_workflows.py
MODEL_FILES = {
    **dict.fromkeys(REAL, {"unet_name", "clip_name", "vae_name", "audio_encoder_name"}),
    **dict.fromkeys(AVATAR, FILE_INPUTS), **dict.fromkeys(TALK, TALK_FILES),
    **FAMILY_FILES,
}  # fmt: skip
TYPES = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
STEPS, FEW = 8, 4  # where there is one chunk, and where there are several
CHUNKS_OF = {"wan22_s2v_extend": 2, "wan22_s2v_long": CHUNKS, "wan22_s2v_loop": CHUNKS}
LONG = {name for name, chunks in CHUNKS_OF.items() if chunks > 2}
RUN = [pytest.param(name, marks=pytest.mark.once) if name in LONG else name
       for name in FILES if name not in AVATAR + TALK + FAMILY]  # fmt: skip
each = pytest.mark.parametrize("name", FILES)


def saved(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def lacking(workflow: dict, info: dict) -> list[str]:
    """Kinds of its nodes that this ComfyUI does not have."""
    return sorted({node["type"] for node in workflow["nodes"]} - {*EDITOR_ONLY, *info})


@pytest.fixture
def graph(name, info):
    """The workflow of that name, where ComfyUI has the nodes: MiniMax-H3's came after 0.20."""
    found = saved(name)
    lacks = lacking(found, info)
    if lacks and name in FAMILY:
        pytest.skip(f"this ComfyUI has no {lacks[0]}")
    return found


def queued(workflow: dict, object_info: dict) -> dict:
    """What the editor sends for a workflow: without muted nodes, links in place of their widgets."""
    muted = {node["id"] for node in workflow["nodes"] if node["mode"] == MUTED}
    links = {link[0]: link for link in workflow["links"] if link[1] not in muted}
    nodes = [json.loads(json.dumps(node)) for node in workflow["nodes"] if node["id"] not in muted]
    for node in nodes:
        for entry in node["inputs"]:
            entry["link"] = entry["link"] if entry["link"] in links else None
    prompt = to_api({"nodes": nodes, "links": list(links.values())}, object_info)
    for node in nodes:
        inputs = prompt[str(node["id"])]["inputs"] if node["type"] not in EDITOR_ONLY else {}
        linked = {e["name"]: links[e["link"]] for e in node["inputs"] if e["link"] is not None}
        inputs |= {name: [str(link[1]), link[2]] for name, link in linked.items()}
        if node["type"] == "ImageCompare":
            inputs["compare_view"] = {"__value__": ["", ""]}
    return prompt


def quick(prompt: dict, steps: int) -> dict:
    """With few steps, replays and frames."""
    less = {"KSampler": {"steps": steps}, "SyncCacheCalibrate": {"replays": 1}}
    for node in prompt.values():
        node["inputs"] |= {"length": LENGTH} if node["class_type"].startswith("WanSound") else {}
        node["inputs"] |= less.get(node["class_type"], {})
    return prompt


# As files.


def test_the_files_are_what_the_tool_makes():
    assert {name: (FOLDER / f"{name}.json").read_text(encoding="utf-8") for name in FILES} == {
        name: graph.text() for name, graph in workflows().items()
    }, "run python -m tools.make_workflows"


@each
def test_a_thumbnail_lies_beside_it(name):
    path = FOLDER / f"{name}.jpg"
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "JPEG" and 400 <= picture.width <= 1000 and 1.2 < picture.width / picture.height < 2.6
    assert 5_000 < path.stat().st_size < 150_000


@each
def test_links_are_sound(name):
    workflow = saved(name)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"]) and max(nodes) == workflow["last_node_id"]
    for number, source, slot, target, entry, kind in workflow["links"]:
        out, into = nodes[source]["outputs"][slot], nodes[target]["inputs"][entry]
        assert kind == out["type"] and (kind == into["type"] or "*" in (kind, into["type"]))
        assert number in out["links"] and into["link"] == number
    held = [e["link"] for node in nodes.values() for e in node["inputs"] if e["link"] is not None]
    assert sorted(held) == sorted(link[0] for link in workflow["links"])


@each
def test_no_nodes_overlap_and_each_lies_in_one_group(name):
    workflow = saved(name)
    boxes = {}
    for node in workflow["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        boxes[node["id"]] = (x, y - TITLE, x + width, y + height)
    apart = [a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for a, b in combinations(boxes.values(), 2)]
    assert all(apart)
    frames = [(x, y, x + width, y + height) for x, y, width, height in (g["bounding"] for g in workflow["groups"])]
    for x0, y0, x1, y1 in boxes.values():
        assert sum(a <= x0 and b <= y0 and x1 <= c and y1 <= d for a, b, c, d in frames) == 1
    assert all(group["title"] for group in workflow["groups"])


@each
def test_notes_teach_and_nothing_names_a_machine(name):
    workflow = saved(name)
    notes = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    assert notes and all(note.startswith("## ") for note in notes)
    text = json.dumps(workflow)
    assert not re.search(r'"(/|~|[A-Za-z]:\\)|/(home|root|Users|tmp|work)/|https?://', text)


# In ComfyUI.


@pytest.fixture(scope="module")
def info(server):
    return server.get("/object_info")


def declared(info: dict, kind: str) -> dict:
    inputs = info[kind]["input"]
    return {**inputs.get("required", {}), **inputs.get("optional", {})}


def plainly(kind) -> str:
    """The type of a socket as files have it; what takes the type of its link has none of its own."""
    return "*" if kind == "COMFY_MATCHTYPE_V3" else kind


@each
@pytest.mark.slow
def test_sockets_are_the_hosts_own(graph, info):
    """Names and types of inputs and outputs; ComfyUI 0.20 lacks some outputs that later ones have."""
    for node in graph["nodes"]:
        if node["type"] in EDITOR_ONLY:
            continue
        known = declared(info, node["type"])
        for entry in node["inputs"]:
            assert plainly(known[entry["name"]][0]) == entry["type"], (node["type"], entry)
        outputs = list(zip(info[node["type"]]["output_name"], map(plainly, info[node["type"]]["output"])))
        ours = [(entry["name"], entry["type"]) for entry in node["outputs"]]
        assert outputs[: len(ours)] == ours, node["type"]


@each
@pytest.mark.slow
def test_every_value_is_one_that_the_widget_can_have(name, graph, info):
    prompt = queued(graph, info)
    for node in prompt.values():
        for key, (kind, *rest) in declared(info, node["class_type"]).items():
            value, options = node["inputs"].get(key), rest[0] if rest else {}
            if value is None or isinstance(value, list) or key in MODEL_FILES.get(name, ()):
                continue
            choices = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
            assert choices is None or value in choices, (node["class_type"], key, value)
            if choices is None and kind in TYPES:
                assert isinstance(value, TYPES[kind]), (node["class_type"], key, value)
            if kind in ("INT", "FLOAT"):
                most = options.get("max", math.inf)
                assert options["min"] <= value <= most, (node["class_type"], key, value)


def is_widget(spec: list) -> bool:
    """Of an input as the server declares it; some are sockets although they could be widgets."""
    kind, *options = spec
    widget = isinstance(kind, list) or kind in (*TYPES, "COMBO", "COMFY_DYNAMICCOMBO_V3")
    return widget and not (options and options[0].get("forceInput"))


@each
@pytest.mark.slow
def test_no_widget_is_left_over(graph, info):
    """As many values as widgets; a file's upload button has one as well, and 0.20 has fewer widgets for videos. Choices that
    bring widgets along are left to the next test, which sends them.
    """
    for node in graph["nodes"]:
        if node["type"] in (*EDITOR_ONLY, "LoadImage", "LoadAudio", "SaveVideo", "CreateVideo", "ImageCompare", "StartLoop"):
            continue
        widgets = [spec for spec in declared(info, node["type"]).values() if is_widget(spec)]
        extra = sum("control_after_generate" in spec[1] for spec in widgets if len(spec) > 1)
        assert len(node["widgets_values"]) == len(widgets) + extra, node["type"]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL + AVATAR + TALK + FAMILY)
def test_only_model_files_are_missing(name, graph, server, info):
    prompt = queued(graph, info)
    with pytest.raises(HTTPError) as refused:
        server.post("/prompt", {"prompt": prompt})
    answer = json.loads(refused.value.read())
    errors = [error for node in answer["node_errors"].values() for error in node["errors"]]
    assert {error["type"] for error in errors} == {"value_not_in_list"}
    assert {error["extra_info"]["input_name"] for error in errors} == MODEL_FILES[name]


def frames(path) -> int:
    av = pytest.importorskip("av")  # ComfyUI's own; without it this module must be collected all the same
    with av.open(path) as film:
        return sum(1 for _ in film.decode(video=0))


@pytest.mark.parametrize("name", RUN)
@pytest.mark.slow
def test_it_runs(name, server, info):
    """A real graph with the Tiny Talker in place of its loaders. The first latent frame is one picture, others are 4."""
    chunks = CHUNKS_OF.get(name, 1)
    steps = FEW if name in CHUNKS_OF else STEPS
    prompt = queued(saved(name), info)
    prompt = quick(stand_in(prompt) if name in REAL else prompt, steps)
    entry = run(server, prompt)
    outputs = {key: entry["outputs"].get(key) for key in prompt}
    for key, node in prompt.items():
        if node["class_type"] in ("PreviewImage", "SyncCacheHumanMask"):
            assert outputs[key]["images"]
        if node["class_type"] == "ImageCompare":
            assert len(outputs[key]["a_images"]) == len(outputs[key]["b_images"]) == 1
        if node["class_type"] == "SaveVideo":
            video = outputs[key]["images"][0]
            path = server.base / video["type"] / video["subfolder"] / video["filename"]
            assert frames(path) == (LENGTH + 3) * chunks - 3
        if node["class_type"] == "SyncCacheCompare":
            assert re.search("verdict: Two noises of your model differ.*mouth follows", outputs[key]["text"][0])
            assert len(outputs[key]["images"]) == 3
        if node["class_type"] == "SyncCacheReport":
            told = outputs[key]["text"][0]
            runs = re.findall(rf"^{steps} steps: \d+ computed, (\d+) reused", told, re.MULTILINE)
            assert len(runs) == chunks and all(int(reused) > 0 for reused in runs), told
