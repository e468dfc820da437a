"""Templates of models whose files are too large for tests: one node stands in for them, in a small size."""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tools.make_workflows import FOLDER, Show, sheet


def titles_of(workflow: dict) -> dict[str, str]:
    return {str(node["id"]): node.get("title", "") for node in workflow["nodes"]}


def replaced(prompt: dict, node: dict, gone: set[str], output: Callable, changed: Callable) -> dict:
    """A prompt in which `node` takes the place of all nodes of the kinds in `gone`.

    output(key, slot) -> which of its outputs stands for one of theirs. changed(key) -> what another node's inputs become.
    """
    kinds = {key: each["class_type"] for key, each in prompt.items()}
    made = {"stand-in": node}
    for key in (key for key in prompt if kinds[key] not in gone):
        inputs = {
            name: ["stand-in", output(*value)] if isinstance(value, list) and kinds[value[0]] in gone else value
            for name, value in prompt[key]["inputs"].items()
        }
        made[key] = {"class_type": kinds[key], "inputs": inputs | changed(key)}
    return made


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
