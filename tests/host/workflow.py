"""Turn a workflow as the editor saves it into the form that POST /prompt takes, by the server's own /object_info."""

import json

from tests.conftest import ROOT

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
LENGTH = 5  # frames where the outcome does not matter, 2 in latents: decoding takes most of the time
EDITOR_ONLY = ("MarkdownNote", "Note")
# Of a custom node that takes a loader's place: small, and enough for the conditioning nodes.
VAE = '''
class Vae:
    def encode(self, pixels):
        return pixels.mean(-1)[None, None, ::4, ::8, ::8].repeat(1, 16, 1, 1, 1)

    def decode(self, latent):
        return latent[:, :3].repeat_interleave(4, 2)[:, :, 3:].repeat_interleave(8, 3).repeat_interleave(8, 4).movedim(1, -1)
'''


def to_api(workflow: dict, object_info: dict) -> dict:
    """{node id: {"class_type", "inputs"}}. Raises KeyError where the server lacks a node or a link's slot."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in EDITOR_ONLY:
            continue
        inputs = {i["name"]: links[i["link"]] for i in node["inputs"] if i["link"] is not None}
        inputs |= widget_values(node, object_info[node["type"]]["input"])
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def widget_values(node: dict, declared: dict) -> dict:
    """Pair the saved widget values with the declared inputs, in the server's order."""
    values = iter(node["widgets_values"])
    paired = {}
    for name, spec in [*declared.get("required", {}).items(), *declared.get("optional", {}).items()]:
        kind = spec[0]
        options = spec[1] if len(spec) > 1 else {}
        if not (isinstance(kind, list) or kind in WIDGETS) or options.get("hidden"):
            continue
        value = next(values, None)
        if value is None:
            continue
        paired[name] = value
        if kind == "COMFY_DYNAMICCOMBO_V3" and (chosen := chosen_inputs(options, value)):
            paired |= {f"{name}.{key}": next(values) for key in chosen}
        if options.get("control_after_generate"):
            next(values)  # the editor's "fixed / randomize"
    return paired


def chosen_inputs(options: dict, value) -> list[str]:
    """The widgets that a choice brings along."""
    brought = next((option["inputs"] for option in options.get("options", ()) if option["key"] == value), {})
    return [name for kind in ("required", "optional") for name, spec in brought.get(kind, {}).items() if spec[0] in WIDGETS]


def stem(server, steps: int) -> dict:
    """Tiny Talker, conditioning (nodes 1 and 2) of a few frames and a sampler (4) of the shipped workflow."""
    whole = to_api(json.loads((ROOT / "workflows" / "tiny_talker.json").read_text()), server.get("/object_info"))
    kept = {key: whole[key] for key in ("1", "2", "4")}
    kept["2"]["inputs"]["length"] = LENGTH
    kept["4"]["inputs"]["steps"] = steps
    return kept


def node(server, kind: str, **inputs) -> dict:
    """A node as the editor queues it: widgets that were not touched have their defaults."""
    declared = server.get(f"/object_info/{kind}")[kind]["input"]["required"]
    defaults = {name: spec[1]["default"] for name, spec in declared.items() if len(spec) > 1 and "default" in spec[1]}
    return {"class_type": kind, "inputs": defaults | inputs}
