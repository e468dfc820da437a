"""A workflow of ComfyUI in the making: nodes, links, groups, and where they lie."""

import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

GAP, PAD, TITLE, HEAD = 30, 20, 30, 50  # between nodes, inside a group's edge, above a node, above a group's first title
MUTED = 2  # the editor's mode "Never": neither run nor sent


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
    """"name:TYPE name:TYPE", in names ~ stands for a space."""
    named = (part.replace("~", " ").split(":") for part in text.split())
    return [{"name": name, "type": kind, **more} for name, kind in named]


class Graph:
    """A workflow in the making. Ids count up as nodes are added: tests know some of them."""

    def __init__(self, name: str):
        self.name, self.nodes, self.links, self.groups = name, [], [], []

    def add(self, kind: str, *widgets, title=None, size=None, mode=0, widget_inputs=(), **sources) -> Node:
        """sources: input name = output of another node. widget_inputs: sources that take the place of a widget."""
        inputs = sockets(KINDS[kind].inputs, link=None)
        named = {entry["name"] for entry in inputs}
        for name in [name for name in widget_inputs if name not in named]:
            source, slot = sources[name]
            inputs.append({"name": name, "type": source["outputs"][slot]["type"], "link": None})
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


def flowing(text: str) -> str:
    """Lines of a paragraph or a bullet as one line: the editor shows a note's line breaks while it is edited."""
    lines = [""]
    for line in text.strip().splitlines():
        fresh = not line or not lines[-1] or line.startswith(("#", "|", "* ", *(f"{n}. " for n in range(1, 10))))
        after = lines[-1].startswith(("#", "|"))
        lines = [*lines, line] if fresh or after else [*lines[:-1], f"{lines[-1]} {line}"]
    return "\n".join(lines).strip()
