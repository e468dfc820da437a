"""Live text under a node while it, or the sampler that uses its model, runs."""

from server import PromptServer


class NodeText:
    """say(text) for one node; silent where there is no server (scripts, tests) or no node id."""

    def __init__(self, node_id: str | None):
        self.node_id = node_id

    def __call__(self, text: str) -> None:
        server = getattr(PromptServer, "instance", None)
        if server is not None and self.node_id is not None:
            server.send_progress_text(text, self.node_id)
