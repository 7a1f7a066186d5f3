"""Text shown on a node."""

from __future__ import annotations

import sys
from collections.abc import Callable


def show_text(node_id: str | None) -> Callable[[str], None]:
    """A function that shows a line on a node in the front end; nothing where no server runs."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    instance = getattr(server, "instance", None)

    def show(line: str) -> None:
        if instance is not None and node_id is not None:
            instance.send_progress_text(line, node_id, instance.client_id)

    return show


def spoken(text: str, line: str = "") -> dict[str, tuple[str, ...]]:
    """A node's output for people: a text for clients, and what `web/js/sentences.js` shows on the node.

    The front end itself draws a text on few nodes of the host, and on no other.
    """
    return {"text": (text,), "said": (line or text,)}
