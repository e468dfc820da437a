"""Stand-ins for the Start Loop and End Loop of newer ComfyUIs, so that graphs with them run in older ones.

The inputs, the outputs and what they mean are those of ComfyUI's documentation, as far as our templates use them; how they
do it is not: the first pass is the graph as it is, and End Loop adds copies of the body for the others.
"""

from comfy_api.latest import ComfyExtension, io
from comfy_execution.graph_utils import GraphBuilder, is_link

INDEX, FIRST, LAST, ITEM, CURRENT = range(5)  # outputs of Start Loop


class StartLoop(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        item, carried = io.MatchType.Template("list_item"), io.MatchType.Template("carried_value")
        count = io.Int.Input("num_iterations", default=4, min=0)
        return io.Schema(
            node_id="StartLoop", display_name="Start Loop", category="utilities/looping",
            inputs=[
                io.DynamicCombo.Input("mode", options=[io.DynamicCombo.Option("simple", [count])]),
                io.Boolean.Input("cache_iterations", default=False, advanced=True),
                io.Int.Input("parent_iteration", optional=True, force_input=True),
                io.MatchType.Input("initial_iteration_value", carried, optional=True),
            ],
            outputs=[
                io.Int.Output("iteration_index"), io.Boolean.Output("is_first"), io.Boolean.Output("is_last"),
                io.MatchType.Output(item, id="list_item"), io.MatchType.Output(carried, id="current_iteration_value"),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, mode, cache_iterations=False, parent_iteration=None, initial_iteration_value=None) -> io.NodeOutput:
        return io.NodeOutput(0, True, mode["num_iterations"] == 1, None, initial_iteration_value)


class EndLoop(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        output, carried = io.MatchType.Template("output_value"), io.MatchType.Template("carried_value")
        return io.Schema(
            node_id="EndLoop", display_name="End Loop", category="utilities/looping",
            inputs=[
                io.MatchType.Input("output_value", output, optional=True),
                io.MatchType.Input("next_iteration_value", carried, optional=True),
                io.Boolean.Input("accumulate", default=False),
            ],
            outputs=[io.MatchType.Output(output, id="outputs")],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id], enable_expand=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, accumulate, output_value=None, next_iteration_value=None) -> io.NodeOutput:
        nodes = cls.hidden.dynprompt.get_original_prompt()
        end = nodes[cls.hidden.unique_id]["inputs"]
        start = next(key for key, node in nodes.items() if node["class_type"] == "StartLoop")
        count, body = nodes[start]["inputs"]["mode.num_iterations"], between(nodes, start, cls.hidden.unique_id)
        graph, carried, result = GraphBuilder(), end["next_iteration_value"], end["output_value"]
        for index in range(1, count):
            copies = {key: graph.node(nodes[key]["class_type"], f"{index} {key}") for key in body}
            values = {INDEX: index, FIRST: False, LAST: index == count - 1, ITEM: None, CURRENT: carried}
            passed = {(start, slot): value for slot, value in values.items()}
            for key, copy in copies.items():
                copy.set_override_display_id(key)
                for name, value in nodes[key]["inputs"].items():
                    copy.set_input(name, copied(value, copies, passed))
            carried, result = (copied(end[name], copies, passed) for name in ("next_iteration_value", "output_value"))
        return io.NodeOutput(result, expand=graph.finalize()) if count > 1 else io.NodeOutput(output_value)


def copied(value, copies: dict, passed: dict):
    """An input in one pass. copies: {id: the copy of a node}. passed: {(id, slot): what Start Loop gives there}."""
    if not is_link(value):
        return value
    if tuple(value) in passed:
        return passed[tuple(value)]
    return copies[value[0]].out(value[1]) if value[0] in copies else value


def between(nodes: dict, start: str, end: str) -> list[str]:
    """Nodes that need Start Loop and that End Loop needs."""
    def sources(key: str) -> list[str]:
        return [value[0] for value in nodes[key]["inputs"].values() if is_link(value)]

    def needs(key: str) -> bool:
        return key == start or any(map(needs, sources(key)))

    found, left = [], sources(end)
    while left:
        key = left.pop()
        if key not in (start, *found) and needs(key):
            found.append(key)
            left += sources(key)
    return found


class Loops(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [StartLoop, EndLoop]


async def comfy_entrypoint() -> Loops:
    return Loops()
