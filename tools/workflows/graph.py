"""A workflow of ComfyUI in the making: nodes, links, groups, and where they lie."""

import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

GAP, PAD, TITLE, HEAD = 30, 20, 30, 50  # between nodes, inside a group's edge, above a node, above a group's first title
MUTED = 2  # the editor's mode "Never": neither run nor sent


class Kind(NamedTuple):
    """A line of kinds.txt. Sockets as "name:TYPE", or "name" where the type is called so, widgets aside; size as the editor
    needs it with its widgets, and the drawings of this pack.
    """

    inputs: str
    outputs: str
    size: tuple[int, int]


def kind_of(line: str) -> tuple[str, Kind]:
    """Of "name 340x500: inputs -> outputs"."""
    head, _, both = line.partition(": ")
    name, size = head.split(" ")
    inputs, outputs = both.split("->")
    return name, Kind(inputs, outputs, tuple(map(int, size.split("x"))))


KINDS = dict(map(kind_of, Path(__file__).with_name("kinds.txt").read_text(encoding="utf-8").splitlines()))


@dataclass(frozen=True)
class Node:
    """A node of the file; `data` is what the file holds. node["model"] is an output, to connect."""

    data: dict

    def __getitem__(self, output: str) -> tuple[dict, int]:
        return self.data, [o["name"] for o in self.data["outputs"]].index(output)


def sockets(text: str, **more) -> list[dict]:
    """"name:TYPE name", in names ~ stands for a space."""
    named = (part.replace("~", " ").partition(":") for part in text.split())
    return [{"name": name, "type": kind or name.upper(), **more} for name, _, kind in named]


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
