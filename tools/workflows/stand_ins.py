"""Templates of models whose files are too large for tests: one node stands in for them, in a small size."""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tools.make_workflows import FOLDER, Show, sheet


def titles_of(workflow: dict) -> dict[str, str]:
    return {str(node["id"]): node.get("title", "") for node in workflow["nodes"]}


def replaced(prompt: dict, titles: dict[str, str], node: dict, outputs: dict, gone: Iterable[str], small: dict) -> dict:
    """A prompt in which `node` takes the place of all nodes of the kinds in `outputs` and `gone`. titles: of nodes, by id.

    outputs: kind or title of a node -> by its slots, which outputs of `node` stand for them. small: kind or title of a node
    that stays -> its inputs in a small size.
    """
    def of(key: str, table: dict):
        return table.get(titles[key]) or table.get(prompt[key]["class_type"])

    away, made = {*outputs, *gone}, {"stand-in": node}
    for key, each in prompt.items():
        if each["class_type"] not in away:
            links = {name: value for name, value in each["inputs"].items() if isinstance(value, list)}
            moved = {name: ["stand-in", of(source, outputs)[slot]] for name, (source, slot) in links.items()
                     if prompt[source]["class_type"] in away}  # fmt: skip
            made[key] = {"class_type": each["class_type"], "inputs": each["inputs"] | moved | (of(key, small) or {})}
    return made


def asked(doc: str) -> None:
    """Print help and leave where a script that paints is asked for it. doc: its docstring."""
    argparse.ArgumentParser(description=doc.partition("\n\n")[2]).parse_args()


def paint(graphs: Iterable, prepared: Callable, stand_in: Callable, caption: str, first: Callable = lambda show: ()) -> None:
    """Run templates with tiny models, and write their thumbnails: which steps were computed, and pictures `first` if any.

    prepared(base): files and nodes below ComfyUI's base folder. stand_in(name, prompt, titles) -> the prompt that is run.
    """
    from demo.comfy_host import open_host
    from demo.find_host import find_host
    from tests.host.running import launched, run
    from tests.host.test_workflows import queued

    open_host(find_host())
    with tempfile.TemporaryDirectory() as folder:
        prepared(Path(folder))
        with launched(Path(folder)) as server:
            for graph in graphs:
                workflow = json.loads(graph.text())
                prompt = stand_in(graph.name, queued(workflow, server.get("/object_info")), titles_of(workflow))
                show = Show(graph, server.base, run(server, prompt))
                sheet(caption, [*first(show), show.preview("Timeline")]).save(FOLDER / f"{graph.name}.jpg", quality=85)
