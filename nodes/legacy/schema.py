"""What the schemas of these nodes have in common."""

from __future__ import annotations

from typing import Any

from ...ipadapter.host.api import io
from ..sockets import CATEGORY

LEGACY_CATEGORY = f"{CATEGORY}/compatibility"


def stand_in(node_id: str, display_name: str, description: str, **more: Any) -> io.Schema:
    """The schema of a node in the place of another pack's.

    `display_name` is the other's; `description` says what serves new graphs.
    """
    return io.Schema(
        node_id=node_id,
        display_name=f"{display_name} (compatibility)",
        category=LEGACY_CATEGORY,
        description=f"Stands in graphs made for ComfyUI_IPAdapter_plus. {description}",
        is_deprecated=True,
        **more,
    )
