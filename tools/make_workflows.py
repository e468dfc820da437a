"""Writes the shared workflows: `python -m tools.make_workflows`, and with --pictures their thumbnails as well.

Thumbnails are frames of real runs in ComfyUI, minutes on two cores. Where a workflow wants the 14-billion model, the Tiny
Talker takes the loaders' places. Facts of the real graph: ComfyUI's own template for Wan2.2-S2V.
"""

import argparse
import json
import math
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parents[1] / "workflows"
GAP, PAD, TITLE, HEAD = 30, 20, 30, 50  # between nodes, inside a group's edge, above a node, above a group's first title
BACK, LANCZOS = (21, 25, 33), Image.Resampling.LANCZOS
MUTED = 2  # the editor's mode "Never": neither run nor sent


HONEST = "The Tiny Talker has 96 pixels. It shows *how* SyncCache works; its numbers say nothing about a real model."
TINY_TALKER = f"""
## Tiny Talker
Press **Run**: a portrait speaks twice, above with the stock nodes alone, below through **SyncCache**. Same seed, same
steps.

* The strip under **SyncCache** has one cell per step: tall is computed, low is reused. This model is so small that whole
results are reused; on Wan2.2-S2V it is what the heavy blocks added, with the audio fresh at every step.
* **preset**: *Faithful* asks for 2×, *Balanced* for 3×, *Fast* for 4×. Faster is further from the plain video.
* Your own face and voice: connect *Load Image* and *Load Audio* to the Tiny Talker. Unconnected, it uses those it comes
with.
* The real model: template *wan22_s2v*. Stock loaders take the place of the Tiny Talker, the rest stays.

{HONEST}
"""
COMPARE = """
## Compare
* *Compare Images* lays a frame of the plain run over the same frame of the other one: move the mouse across it. Without
Nodes 2.0 it shows nothing; the video below it does.
* *batch_index* chooses the frame. Change it in both nodes.
* The heat map, on the left, shows where in the picture reused steps had the most to bridge.
"""
CALIBRATE = f"""
## Calibrate and plan
A plan says which steps are computed and how the others are made up. It comes from a measurement of your model instead of
a rule of thumb. Press **Run**; everything runs in one go:

1. *Calibrate* samples once without a cache and measures. Then it tries a few plans, its *replays*.
2. The *Schedule Optimizer* takes the best plan for the speed you ask for, and draws what it will cost and give.
3. *Save Plan* keeps it in **models/synccache_plans**. It never replaces a file: another plan of the same name gets a number.
4. *SyncCache* samples another seed with the plan.

Then move **target_speedup** of the optimizer and run again: the calibration is kept, only what follows it runs.

* Calibrate with the sampler, steps, shift and guidance that you will use. The sampler must evaluate the model once per
step, as **euler** does.
* One clip is a small sample: plans from several clips hold up better. Several samplers on the model of *Calibrate* in one
run are merged into one calibration.

{HONEST}
"""
PLANNED = """
## With the plan
* While **plan_json** is connected, preset and sliders have no say.
* The seed is not the calibration's: you see whether the plan carries over.
* Next time *SyncCache Load Plan* is enough, parts 2 and 3 are not needed.
* A plan may reuse the whole output of the model. Then the audio rests on reused steps too. **level** *residual* in the
optimizer rules that out.
"""
HUMAN_MASK = f"""
## Human mask
A mask says where the person is. With preset *Paper*, as here, changes there weigh twice those of the background when it
is decided which steps are computed; in a plan (connect it to *SyncCache Calibrate*) the person's error weighs more. The
other presets compute fixed steps, and need no mask.

* Here it is two boxes of stock nodes, so that nothing has to be installed. *SyncCache Human Mask* softens the edge, widens
it by how far a person moves, and shows it as an overlay.
* Any MASK will do: drawn in the mask editor of *Load Image*, or from SAM3 or background removal.
* Look at the overlay: a wrong mask is worse than none.

## What it buys
On a smooth model such as the Tiny Talker next to nothing. The paper reports a closer picture and better lip sync for the
real HunyuanVideo-Avatar; we have run no real model.

{HONEST}
"""
YOLO = """
## With a detector
1. Put a YOLO file into **models/ultralytics/segm** (outlines) or **bbox** (boxes).
2. ultralytics must be installed. It is AGPL-3.0 and no part of this pack; the help page of the node says how.
3. Press **R**, choose the file as **detector** and disconnect *mask*. With both, they are joined.
"""
REAL_WARNING = """**Nobody has run these presets on the real model yet.** Speeds are counted operations of the DiT at
832×480 and 77 frames, and quality is open. To see the video without a cache, bypass SyncCache: select it and press
**Ctrl+B**."""
MEMORY = """Each preset holds about 14 GiB of residuals at this size, in host memory where that is more than a quarter of
the GPU's. Lower it with **memory_budget_gb**, or with *Custom* and **cache_ratio**; both cost accuracy."""
FIRST_FRAME = """## The first frame
The VAE makes one picture of the first latent frame and four of every other. Here the one comes out too harsh. So, as in
ComfyUI's template, the first latent frame is doubled before decoding, and as many pictures as that adds, 4, are cut off
again: lips and sound stay together."""
TWENTY = f"""
## Wan2.2-S2V with SyncCache, 20 steps
Choose a portrait and a voice, then press **Run**: 77 frames at 640×640, 4.8 seconds. To try without files of your own, copy
*portrait.png* and *speech.wav* from this pack's **demo/assets** to ComfyUI's **input** folder.

Sampler, cfg and shift are those of ComfyUI's own template for 20 steps.

## What a preset costs
| preset | steps computed | speed, by count |
|---|---|---|
| Faithful | 10 of 20 | 1.9× |
| Balanced | 6 of 20 | 3.0× |
| Fast | 4 of 20 | 4.2× |

{REAL_WARNING}

{MEMORY}

{FIRST_FRAME}

## 40 steps
Set **steps** of the KSampler to 40, or open *wan22_s2v_40_steps*. With more steps neighbours differ less, so more of
them can be reused.

## LoRAs of few steps
With a LoRA for 4 steps and cfg 1 there is next to nothing to skip: 3 of 4 steps are computed, 1.3× at the very best. Take
either such a LoRA, or SyncCache and 20 steps or more. Other LoRAs go between the loader and SyncCache.
"""
FORTY = f"""
## Wan2.2-S2V with SyncCache, 40 steps
As *wan22_s2v*, with 40 steps; sampler, cfg and shift are the same. The authors of the model sample 40 steps with uni_pc as
well, at cfg 4.5 and, for 480p, shift 3.

## What a preset costs
| preset | steps computed | speed, by count |
|---|---|---|
| Faithful | 19 of 40 | 2.0× |
| Balanced | 12 of 40 | 3.0× |
| Fast | 9 of 40 | 3.8× |

{REAL_WARNING}

{MEMORY}

## With a saved plan
*SyncCache Load Plan* is muted, so the preset decides. To use a plan:

1. Make one: the template *calibrate_and_plan* shows how. Put *SyncCache Calibrate* in SyncCache's place in this graph, with
the same sampler, steps, cfg and shift. A plan of the Tiny Talker is none for this model.
2. Choose it in *SyncCache Load Plan* (**R** looks for new files), select the node and press **Ctrl+M**.

It is connected to **plan_json** already; preset and sliders then have no say.
"""
EXTEND = f"""
## Wan2.2-S2V with SyncCache, two chunks
The model makes 77 frames at a time. *WanSoundImageToVideoExtend* goes on where they end: it sees the last of them, and hears
the sound from there. Here 157 frames, 9.8 seconds.

* Both samplers use the same model from **SyncCache**. Each is a run of its own: nothing is reused across chunks.
* One **report** shows both, in order. The timeline is one picture for each.
* A third chunk: copy the nodes of part 4. Connect *video_latent* and *samples1* to *Both chunks*, and the report and part
5 to the new *LatentConcat*.
* The sound should be as long as the video. After its end the mouth has nothing to follow.

{FIRST_FRAME}

## Presets
*Faithful* computes 10 of 20 steps, *Balanced* 6, *Fast* 4. {REAL_WARNING}

{MEMORY}
"""
FILES = """
## Files
Each goes into its folder in ComfyUI's **models** folder.

* **diffusion_models**: wan2.2_s2v_14B_fp8_scaled.safetensors
* **text_encoders**: umt5_xxl_fp8_e4m3fn_scaled.safetensors
* **vae**: wan_2.1_vae.safetensors
* **audio_encoders**: wav2vec2_large_english_fp16.safetensors

They are the files of ComfyUI's own template *Wan2.2-S2V Audio-Driven Video Generation*, which says where to get them. Files
of other names will do as well: choose them in the loaders.
"""
POSITIVE = "A person looks into the camera and speaks, calm and friendly."
NEGATIVE = "blurry, overexposed, still picture, low quality, distorted face, distorted hands, subtitles, watermark"


def flowing(text: str) -> str:
    """Lines of a paragraph or a bullet as one line: the editor shows a note's line breaks while it is edited."""
    lines = [""]
    for line in text.strip().splitlines():
        fresh = not line or not lines[-1] or line.startswith(("#", "|", "* ", *(f"{n}. " for n in range(1, 10))))
        after = lines[-1].startswith(("#", "|"))
        lines = [*lines, line] if fresh or after else [*lines[:-1], f"{lines[-1]} {line}"]
    return "\n".join(lines).strip()


class Kind(NamedTuple):
    """Sockets as "name:TYPE", widgets aside; size as the editor needs it with its widgets, and the drawings of this pack."""

    inputs: str
    outputs: str
    size: tuple[int, int]


SCENE = "positive:CONDITIONING negative:CONDITIONING vae:VAE"
HEARD = "audio_encoder_output:AUDIO_ENCODER_OUTPUT ref_image:IMAGE control_video:IMAGE"
CONDITIONED = "positive:CONDITIONING negative:CONDITIONING latent:LATENT"
KINDS = {
    "SyncCacheTinyTalker": Kind(
        "portrait:IMAGE audio:AUDIO",
        "model:MODEL vae:VAE positive:CONDITIONING negative:CONDITIONING audio_encoder_output:AUDIO_ENCODER_OUTPUT "
        "ref_image:IMAGE audio:AUDIO", (320, 190)),
    "SyncCache": Kind("model:MODEL human_mask:MASK plan_json:STRING", "model:MODEL run:SYNCCACHE_RUN", (340, 500)),
    "SyncCacheCalibrate": Kind("model:MODEL human_mask:MASK", "model:MODEL run:SYNCCACHE_RUN", (340, 350)),
    "SyncCacheScheduleOptimizer": Kind(
        "run:SYNCCACHE_RUN samples:LATENT", "plan_json:STRING chart:IMAGE samples:LATENT", (400, 860)),
    "SyncCacheSavePlan": Kind("plan_json:STRING", "plan_json:STRING", (400, 200)),
    "SyncCacheLoadPlan": Kind("", "plan_json:STRING", (340, 400)),
    "SyncCacheReport": Kind(
        "samples:LATENT run:SYNCCACHE_RUN image:IMAGE", "samples:LATENT json:STRING timeline:IMAGE heat_map:IMAGE",
        (420, 340)),
    "SyncCacheHumanMask": Kind("image:IMAGE mask:MASK", "human_mask:MASK overlay:IMAGE", (340, 680)),
    "WanSoundImageToVideo": Kind(f"{SCENE} {HEARD} ref_motion:IMAGE", CONDITIONED, (320, 270)),
    "WanSoundImageToVideoExtend": Kind(f"{SCENE} video_latent:LATENT {HEARD}", CONDITIONED, (320, 230)),
    "KSampler": Kind("model:MODEL positive:CONDITIONING negative:CONDITIONING latent_image:LATENT", "LATENT:LATENT",
                     (300, 270)),
    "VAEDecode": Kind("samples:LATENT vae:VAE", "IMAGE:IMAGE", (240, 60)),
    "ImageScale": Kind("image:IMAGE", "IMAGE:IMAGE", (280, 150)),
    "ImageFromBatch": Kind("image:IMAGE", "IMAGE:IMAGE", (280, 100)),
    "ImageStitch": Kind("image1:IMAGE image2:IMAGE", "IMAGE:IMAGE", (280, 170)),
    "ImageCompare": Kind("image_a:IMAGE image_b:IMAGE", "", (440, 480)),
    "PreviewImage": Kind("images:IMAGE", "", (440, 320)),
    "CreateVideo": Kind("images:IMAGE audio:AUDIO", "VIDEO:VIDEO", (240, 110)),
    "SaveVideo": Kind("video:VIDEO", "", (340, 470)),
    "SolidMask": Kind("", "MASK:MASK", (240, 120)),
    "MaskComposite": Kind("destination:MASK source:MASK", "MASK:MASK", (260, 140)),
    "LatentConcat": Kind("samples1:LATENT samples2:LATENT", "LATENT:LATENT", (260, 90)),
    "LatentCut": Kind("samples:LATENT", "LATENT:LATENT", (260, 120)),
    "UNETLoader": Kind("", "MODEL:MODEL", (380, 100)),
    "CLIPLoader": Kind("", "CLIP:CLIP", (380, 120)),
    "VAELoader": Kind("", "VAE:VAE", (380, 90)),
    "AudioEncoderLoader": Kind("", "AUDIO_ENCODER:AUDIO_ENCODER", (380, 90)),
    "AudioEncoderEncode": Kind("audio_encoder:AUDIO_ENCODER audio:AUDIO", "AUDIO_ENCODER_OUTPUT:AUDIO_ENCODER_OUTPUT",
                               (380, 60)),
    "LoadImage": Kind("", "IMAGE:IMAGE MASK:MASK", (340, 360)),
    "LoadAudio": Kind("", "AUDIO:AUDIO", (340, 170)),
    "CLIPTextEncode": Kind("clip:CLIP", "CONDITIONING:CONDITIONING", (380, 150)),
    "ModelSamplingSD3": Kind("model:MODEL", "MODEL:MODEL", (340, 70)),
    "MarkdownNote": Kind("", "", (360, 300)),
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A node of the file; `data` is what the file holds. node["model"] is an output, to connect."""

    data: dict

    def __getitem__(self, output: str) -> tuple[dict, int]:
        return self.data, [o["name"] for o in self.data["outputs"]].index(output)


def sockets(text: str, **more) -> list[dict]:
    return [{"name": name, "type": kind, **more} for name, kind in (part.split(":") for part in text.split())]


class Graph:
    """A workflow in the making. Ids count up as nodes are added: tests know some of them."""

    def __init__(self, name: str):
        self.name, self.nodes, self.links, self.groups = name, [], [], []

    def add(self, kind: str, *widgets, title=None, size=None, mode=0, widget_inputs=(), **sources) -> Node:
        """sources: input name = output of another node. widget_inputs: sources that take the place of a widget."""
        inputs = sockets(KINDS[kind].inputs, link=None)
        for entry in inputs:
            if entry["name"] in widget_inputs:
                entry["widget"] = {"name": entry["name"]}
        data = {
            "id": len(self.nodes) + 1, "type": kind, "pos": [0, 0], "size": list(size or KINDS[kind].size), "flags": {},
            "order": len(self.nodes), "mode": mode, "inputs": inputs, "outputs": sockets(KINDS[kind].outputs),
            "properties": {"Node name for S&R": kind}, "widgets_values": list(widgets),
        }  # fmt: skip
        if title:
            data["title"] = title
        for entry in data["outputs"]:
            entry["links"] = []
        names = [entry["name"] for entry in inputs]
        for name, (source, slot) in sources.items():
            link, output = len(self.links) + 1, source["outputs"][slot]
            inputs[names.index(name)]["link"] = link
            output["links"].append(link)
            self.links.append([link, source["id"], slot, data["id"], names.index(name), output["type"]])
        self.nodes.append(data)
        return Node(data)

    def note(self, text: str, width=380) -> Node:
        """A note that is as high as its text, nearly, in both renderers of the editor."""
        text, height = flowing(text), 40
        for line in text.splitlines():
            height += 36 if line.startswith(("#", "|")) else 5 + 16 * math.ceil(len(line) * 5.4 / (width - 40))
        node = self.add("MarkdownNote", text, title="Note", size=(width, 10 * math.ceil(height / 10)))
        node.data["color"] = "#432"
        return node

    def panel(self, title: str, x: int, y: int, *columns: Sequence[Node]) -> tuple[int, int]:
        """Places nodes in columns below x, y, with a titled frame around them. Its right and lower edge, and a gap."""
        left, lowest = x + PAD, y
        for column in columns:
            top = y + HEAD + TITLE
            for node in column:
                node.data["pos"] = [left, top]
                top += node.data["size"][1] + GAP + TITLE
            lowest = max(lowest, top - GAP - TITLE)
            left += max(node.data["size"][0] for node in column) + 2 * GAP
        right, low = left - 2 * GAP + PAD, lowest + PAD
        frame = {"id": len(self.groups) + 1, "title": title, "bounding": [x, y, right - x, low - y]}
        self.groups.append({**frame, "color": "#3f789e", "font_size": 24, "flags": {}})
        return right + 2 * GAP, low + 2 * GAP

    def text(self) -> str:
        whole = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"synccache/{self.name}")), "revision": 0,
            "last_node_id": len(self.nodes), "last_link_id": len(self.links), "nodes": self.nodes, "links": self.links,
            "groups": self.groups, "config": {}, "extra": {}, "version": 0.4,
        }  # fmt: skip
        return json.dumps(whole, indent=1, ensure_ascii=False)


PRESETS = {"Faithful": (2.0, 1.0), "Balanced": (3.0, 1.0), "Fast": (4.0, 1.0), "Paper": (3.75, 0.4)}


def cached(g: Graph, preset: str, **sources) -> Node:
    return g.add("SyncCache", preset, *PRESETS[preset], 0.75, -1, -1, "auto", 0.0, "error", "auto", 0.0, **sources)


def sampled(g: Graph, model, scene: Node, seed=7, steps=40, cfg=2.0, sampler="euler", title=None) -> Node:
    return g.add("KSampler", seed, "fixed", steps, cfg, sampler, "simple", 1.0, title=title, model=model,
                 positive=scene["positive"], negative=scene["negative"], latent_image=scene["latent"])  # fmt: skip


def talker(g: Graph) -> tuple[Node, Node]:
    """The Tiny Talker and its scene, in the stock node's smallest size."""
    t = g.add("SyncCacheTinyTalker")
    scene = g.add("WanSoundImageToVideo", 96, 96, 33, 1, positive=t["positive"], negative=t["negative"], vae=t["vae"],
                  audio_encoder_output=t["audio_encoder_output"], ref_image=t["ref_image"])  # fmt: skip
    return t, scene


class Film(NamedTuple):
    """The nodes from a latent to a file; `frames` is the output with the pictures."""

    steps: list[Node]
    save: Node
    frames: tuple


def filmed(g: Graph, samples, vae, audio, name: str, title=None) -> Film:
    decode = g.add("VAEDecode", samples=samples, vae=vae)
    large = g.add("ImageScale", "lanczos", 384, 384, "disabled", image=decode["IMAGE"])
    video = g.add("CreateVideo", 16.0, images=large["IMAGE"], audio=audio)
    save = g.add("SaveVideo", f"video/{name}", "auto", "auto", title=title, video=video["VIDEO"])
    return Film([decode, large, video], save, large["IMAGE"])


def filmed_real(g: Graph, samples, r: "Real", name: str) -> Film:
    """As `filmed`, with the first latent frame doubled and the pictures that this adds cut off."""
    head = g.add("LatentCut", "t", 0, 1, title="First latent frame", samples=samples)
    doubled = g.add("LatentConcat", "t", title="First latent frame twice", samples1=head["LATENT"], samples2=samples)
    decode = g.add("VAEDecode", samples=doubled["LATENT"], vae=r.vae["VAE"])
    rest = g.add("ImageFromBatch", 4, 4096, title="Without the doubled frames", image=decode["IMAGE"])
    video = g.add("CreateVideo", 16.0, images=rest["IMAGE"], audio=r.audio["AUDIO"])
    save = g.add("SaveVideo", f"video/{name}", "auto", "auto", video=video["VIDEO"])
    return Film([head, doubled, decode, rest, video], save, rest["IMAGE"])


def pictures(g: Graph, report: Node) -> list[Node]:
    """Previews of what the report draws."""
    drawn = {"timeline": "Timeline", "heat_map": "Heat map"}
    return [g.add("PreviewImage", title=title, images=report[output]) for output, title in drawn.items()]


def tiny_talker() -> Graph:
    g = Graph("tiny_talker")
    t, scene = talker(g)
    cache = cached(g, "Balanced", model=t["model"])
    plain = sampled(g, t["model"], scene, title="KSampler · plain")
    fast = sampled(g, cache["model"], scene, title="KSampler · SyncCache")
    report = g.add("SyncCacheReport", run=cache["run"], samples=fast["LATENT"], image=t["ref_image"])
    above = filmed(g, plain["LATENT"], t["vae"], t["audio"], "tiny_talker_plain", "Save Video · plain")
    below = filmed(g, report["samples"], t["vae"], t["audio"], "tiny_talker_synccache", "Save Video · SyncCache")
    x, _ = g.panel("1 · Portrait and voice", 0, 0, [g.note(TINY_TALKER)], [t, scene])
    right, y = g.panel("2 · Plain", x, 0, [plain], above.steps, [above.save])
    right, low = g.panel("3 · SyncCache", x, y, [cache], [fast], below.steps, [below.save])
    g.panel("5 · What SyncCache did", x, low, [report], *([node] for node in pictures(g, report)))
    one = [g.add("ImageFromBatch", 16, 1, title=f"One frame · {title}", image=film.frames)
           for film, title in ((above, "plain"), (below, "SyncCache"))]  # fmt: skip
    compare = g.add("ImageCompare", image_a=one[0]["IMAGE"], image_b=one[1]["IMAGE"])
    both = g.add("ImageStitch", "right", True, 0, "white", image1=above.frames, image2=below.frames)
    video = g.add("CreateVideo", 16.0, images=both["IMAGE"], audio=t["audio"])
    save = g.add("SaveVideo", "synccache/tiny_talker_side_by_side", "auto", "auto", title="Save Video · side by side",
                 size=(440, 320), video=video["VIDEO"])  # fmt: skip
    g.panel("4 · Compare", right, 0, [g.note(COMPARE, 280), *one, both, video], [compare, save])
    return g


def calibrate_and_plan() -> Graph:
    g = Graph("calibrate_and_plan")
    t, scene = talker(g)
    calibrate = g.add("SyncCacheCalibrate", 4, 3.0, 1.0, "", model=t["model"])
    first = sampled(g, calibrate["model"], scene, title="KSampler · calibration")
    planner = g.add("SyncCacheScheduleOptimizer", 3.0, 1.0, 0.0, "my plan", "auto", "auto", "auto", 0.75,
                    run=calibrate["run"], samples=first["LATENT"])  # fmt: skip
    keep = g.add("SyncCacheSavePlan", "", "tiny talker", widget_inputs=["plan_json"], plan_json=planner["plan_json"])
    chart = g.add("PreviewImage", title="Chart", size=(400, 300), images=planner["chart"])
    cache = cached(g, "Balanced", model=t["model"], plan_json=planner["plan_json"])
    second = sampled(g, cache["model"], scene, seed=8, title="KSampler · with the plan")
    report = g.add("SyncCacheReport", run=cache["run"], samples=second["LATENT"], image=t["ref_image"])
    film = filmed(g, report["samples"], t["vae"], t["audio"], "tiny_talker_planned")
    x, _ = g.panel("1 · Portrait and voice", 0, 0, [g.note(CALIBRATE)], [t, scene])
    right, y = g.panel("2 · Calibrate: one run without a cache", x, 0, [calibrate], [first])
    edge, _ = g.panel("3 · Plan", x, y, [planner], [keep, chart])
    g.panel("4 · Sample with the plan, another seed", max(right, edge), 0, [g.note(PLANNED, 340), cache],
            [second, report], film.steps, [film.save, *pictures(g, report)])  # fmt: skip
    return g


def human_mask() -> Graph:
    g = Graph("human_mask")
    t, scene = talker(g)
    empty, head, body = (g.add("SolidMask", value, w, h, title=title) for value, w, h, title in (
        (0.0, 96, 96, "Empty mask"), (1.0, 62, 72, "Head"), (1.0, 84, 16, "Shoulders")))  # fmt: skip
    half = g.add("MaskComposite", 17, 10, "add", destination=empty["MASK"], source=head["MASK"])
    drawn = g.add("MaskComposite", 6, 80, "add", destination=half["MASK"], source=body["MASK"])
    mask = g.add("SyncCacheHumanMask", "none", "person, face", 0.35, 0, 6, "none", 2.0, 8, "", image=t["ref_image"],
                 mask=drawn["MASK"])  # fmt: skip
    large = g.add("ImageScale", "lanczos", 384, 384, "disabled", image=mask["overlay"])
    shown = g.add("PreviewImage", title="Overlay", size=(340, 380), images=large["IMAGE"])
    cache = cached(g, "Paper", model=t["model"], human_mask=mask["human_mask"])
    sample = sampled(g, cache["model"], scene)
    report = g.add("SyncCacheReport", run=cache["run"], samples=sample["LATENT"], image=t["ref_image"])
    film = filmed(g, report["samples"], t["vae"], t["audio"], "tiny_talker_masked")
    x, y = g.panel("1 · Portrait and voice", 0, 0, [g.note(HUMAN_MASK)], [t, scene])
    g.panel("2 · A mask of stock nodes", 0, y, [empty, head, body], [half, drawn])
    right, low = g.panel("3 · Human mask", x, 0, [mask], [large, shown, g.note(YOLO, 340)])
    g.panel("4 · Sample", right, 0, [cache], [sample], film.steps, [film.save])
    g.panel("5 · What SyncCache did", x, low, [report], *([node] for node in pictures(g, report)))
    return g


class Real(NamedTuple):
    """What the graphs of the real model have in common; `right`: where their own part starts."""

    portrait: Node
    audio: Node
    vae: Node
    heard: Node
    words: tuple[Node, Node]
    model: Node
    right: int


def real(g: Graph, *texts: str) -> Real:
    """The stock loaders, portrait, voice and words."""
    unet = g.add("UNETLoader", "wan2.2_s2v_14B_fp8_scaled.safetensors", "default")
    clip = g.add("CLIPLoader", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan", "default")
    vae = g.add("VAELoader", "wan_2.1_vae.safetensors")
    ear = g.add("AudioEncoderLoader", "wav2vec2_large_english_fp16.safetensors")
    portrait, audio = g.add("LoadImage", "portrait.png", "image"), g.add("LoadAudio", "speech.wav", None, None)
    words = [g.add("CLIPTextEncode", text, title=title, clip=clip["CLIP"])
             for text, title in ((POSITIVE, "Positive prompt"), (NEGATIVE, "Negative prompt"))]  # fmt: skip
    heard = g.add("AudioEncoderEncode", audio_encoder=ear["AUDIO_ENCODER"], audio=audio["AUDIO"])
    model = g.add("ModelSamplingSD3", 8.0, model=unet["MODEL"])
    x, _ = g.panel("Read me", 0, 0, *([g.note(text, 430)] for text in texts))
    right, y = g.panel("1 · Models", x, 0, [unet, clip, vae, ear])
    right, _ = g.panel("2 · Portrait, voice, words", x, y, [*words, heard], [portrait, audio])
    return Real(portrait, audio, vae, heard, tuple(words), model, right)


def staged(g: Graph, r: Real, kind: str, *widgets, **sources) -> Node:
    """A stock node that makes the scene of a chunk."""
    positive, negative = (node["CONDITIONING"] for node in r.words)
    return g.add(kind, *widgets, positive=positive, negative=negative, vae=r.vae["VAE"], ref_image=r.portrait["IMAGE"],
                 audio_encoder_output=r.heard["AUDIO_ENCODER_OUTPUT"], **sources)  # fmt: skip


def wan22_s2v(name="wan22_s2v", steps=20, preset="Balanced", planned=False) -> Graph:
    g = Graph(name)
    told = FORTY if planned else TWENTY
    r = real(g, told, FILES)
    plan = g.add("SyncCacheLoadPlan", "(no plan saved yet)", mode=MUTED) if planned else None
    cache = cached(g, preset, model=r.model["MODEL"], **({"plan_json": plan["plan_json"]} if plan else {}))
    scene = staged(g, r, "WanSoundImageToVideo", 640, 640, 77, 1)
    sample = sampled(g, cache["model"], scene, 1, steps, 6.0, "uni_pc")
    report = g.add("SyncCacheReport", run=cache["run"], samples=sample["LATENT"], image=r.portrait["IMAGE"])
    film = filmed_real(g, report["samples"], r, name)
    line = [[r.model, cache], [scene, sample]]
    right, y = g.panel("3 · Sample", r.right, 0, *([[plan], *line] if plan else line))
    _, low = g.panel("4 · Video", right, 0, film.steps, [film.save])
    g.panel("5 · What SyncCache did", r.right, max(y, low), [report], *([node] for node in pictures(g, report)))
    return g


def wan22_s2v_extend() -> Graph:
    g = Graph("wan22_s2v_extend")
    r = real(g, EXTEND, FILES)
    cache = cached(g, "Balanced", model=r.model["MODEL"])
    opening = staged(g, r, "WanSoundImageToVideo", 640, 640, 77, 1)
    first = sampled(g, cache["model"], opening, 1, 20, 6.0, "uni_pc", "KSampler · first chunk")
    following = staged(g, r, "WanSoundImageToVideoExtend", 77, video_latent=first["LATENT"])
    second = sampled(g, cache["model"], following, 2, 20, 6.0, "uni_pc", "KSampler · second chunk")
    whole = g.add("LatentConcat", "t", title="Both chunks", samples1=first["LATENT"], samples2=second["LATENT"])
    report = g.add("SyncCacheReport", run=cache["run"], samples=whole["LATENT"], image=r.portrait["IMAGE"])
    film = filmed_real(g, report["samples"], r, g.name)
    right, _ = g.panel("3 · First chunk", r.right, 0, [r.model, cache], [opening, first])
    right, y = g.panel("4 · Second chunk", right, 0, [following, second, whole])
    _, low = g.panel("5 · Video", right, 0, film.steps, [film.save])
    g.panel("6 · What SyncCache did", r.right, max(y, low), [report], *([node] for node in pictures(g, report)))
    return g


def workflows() -> dict[str, Graph]:
    from tools.avatar_workflows import avatar_workflows  # it builds on this file

    made = [
        tiny_talker(), calibrate_and_plan(), human_mask(), wan22_s2v(), wan22_s2v_extend(),
        wan22_s2v("wan22_s2v_40_steps", 40, "Faithful", planned=True), *avatar_workflows(),
    ]  # fmt: skip
    return {graph.name: graph for graph in made}


def stand_in(prompt: dict) -> dict:
    """A prompt for the real model with the Tiny Talker in the loaders' place, in its size, with speech for two chunks.

    Its first picture is noise: the Tiny Talker's first latent frame does stand for one picture.
    """
    outputs = {"UNETLoader": 0, "VAELoader": 1, "AudioEncoderEncode": 4, "LoadImage": 5, "LoadAudio": 6}
    kinds = {key: node["class_type"] for key, node in prompt.items()}
    gone = {*outputs, "CLIPLoader", "AudioEncoderLoader", "CLIPTextEncode"}
    made = {
        "a": {"class_type": "SyncCacheTinyTalker", "inputs": {}},
        "b": {"class_type": "AudioConcat", "inputs": {"audio1": ["a", 6], "audio2": ["a", 6], "direction": "after"}},
        "c": {"class_type": "SyncCacheTinyTalker", "inputs": {"audio": ["b", 0]}},
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

    with tempfile.TemporaryDirectory() as folder, launched(Path(folder)) as server:
        info = server.get("/object_info")
        made = workflows()
        for name in names or made:
            graph = made[name]
            prompt = queued(json.loads(graph.text()), info)
            entry = run(server, stand_in(prompt) if name.startswith("wan22") else prompt)
            THUMBNAILS[name](Show(graph, server.base, entry)).save(FOLDER / f"{name}.jpg", quality=85)


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
