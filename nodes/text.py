"""What a node shows while it, or the sampler that uses its model, runs: live text, or events for the strip of web/js."""

from server import PromptServer

EVENT = "synccache"


class NodeText:
    """say(text) for one node; silent where there is no server (scripts, tests) or no node id."""

    def __init__(self, node_id: str | None):
        self.node_id = node_id

    def __call__(self, text: str) -> None:
        server = self._server()
        if server is not None:
            server.send_progress_text(text, self.node_id)

    def _server(self):
        return getattr(PromptServer, "instance", None) if self.node_id is not None else None


class Strip(NodeText):
    """strip(event): {"text": a sentence instead of a run, "run": see `RunReport.live`, "recognised": model, blocks,
    refreshes, "plan": see `plans.view`}, any of them.
    """

    def __call__(self, event: dict) -> None:
        server = self._server()
        if server is not None:
            server.send_sync(EVENT, {"node": self.node_id, **event})
