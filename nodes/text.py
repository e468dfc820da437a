"""What a node shows while it, or the sampler that uses its model, runs: live text, or events for the strip of web/js."""

from collections.abc import Sequence

from comfy_api.latest import io
from server import PromptServer

from ..synccache_core.sentences import told

EVENT = "synccache"
BREAK = "  \n"  # Nodes 2.0 reads texts as Markdown, where a line ends by two spaces
PLACE = [io.Hidden.unique_id, io.Hidden.dynprompt]  # what a node that shows something asks the host for


def workflow_of(server) -> str | None:
    """The id of the workflow whose prompt runs now, by which web/js knows whether it is the open one. A node cannot tell: of
    another workflow may have been who made a model that the host kept. None where the prompt came without, as of the API.
    """
    items = getattr(getattr(server, "prompt_queue", None), "currently_running", {}).values()
    found = next((item[3] for item in list(items) if item[1] == getattr(server, "last_prompt_id", None)), None)
    for name in ("extra_pnginfo", "workflow", "id"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else None


class NodeText:
    """say(lines) for one node; silent where there is no server (scripts, tests), no node id, or
    nobody who listens (prompts of the API).

    hidden: that of the node, with PLACE. A copy that a loop or another expanding node made has an id that the editor does
    not know: what it says is shown on the node that it is a copy of.
    """

    def __init__(self, hidden):
        self.node_id, prompt = hidden.unique_id, getattr(hidden, "dynprompt", None)
        if self.node_id is not None and prompt is not None:
            self.node_id = prompt.get_display_node_id(self.node_id)

    def __call__(self, lines: Sequence[str]) -> None:
        """In English as every editor shows it, and as sentences, which web/js puts in its place in another language."""
        server, client = self._listener()
        if client is not None:
            server.send_progress_text(BREAK.join(lines), self.node_id, client)
            self._tell(server, client, {"lines": [told(line) for line in lines]})

    def _tell(self, server, client: str, event: dict) -> None:
        server.send_sync(EVENT, {"node": self.node_id, "workflow": workflow_of(server), **event}, client)

    def _listener(self):
        """The server, and who queued the prompt that runs now, as the host has it: of a model that it kept, another may have
        run than who made it. None where nobody listens; without a name the host would tell every browser.
        """
        server = getattr(PromptServer, "instance", None) if self.node_id is not None else None
        return server, getattr(server, "client_id", None)


class Strip(NodeText):
    """strip(event): {"text": a sentence instead of a run, "run": see `RunReport.live`, "recognised": model, blocks,
    refreshes, "plan": see `plans.view`}, any of them.
    """

    def __call__(self, event: dict) -> None:
        server, client = self._listener()
        if client is not None:
            self._tell(server, client, event)
