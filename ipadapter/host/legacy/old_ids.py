"""The old pack's ids, answered here where nobody else answers to one of them.

Programs and other packs look for these ids, not for a folder or a package, and an id that stands for something else
breaks them. So it is all or none, decided when every pack has been loaded, whichever was first. Where no server starts
there is no such moment: an id is then whose pack has it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..running import running_server

SWITCH = "IPADAPTER_OLD_IDS"  # an environment variable
OFF = ("0", "off", "no", "false")
LOADED_AS = Path(__file__).parents[3].name  # unresolved: as the host calls the pack


@dataclass(frozen=True)
class OldIds:
    """Node classes by old id, and the host's two tables of them."""

    classes: Mapping[str, type]
    titles: Mapping[str, str]
    installed: dict[str, type]
    shown: dict[str, str]

    def offer(self) -> None:
        """Answer to every id that nobody has yet. A pack that comes later takes its own."""
        for old, node in self.classes.items():
            node.RELATIVE_PYTHON_MODULE = f"custom_nodes.{LOADED_AS}"  # type: ignore[attr-defined]
            if self.installed.setdefault(old, node) is node:
                self.shown.setdefault(old, self.titles[old])

    async def settle(self, app: Any = None) -> None:
        """Withdraw from all ids where one of them is another pack's."""
        others = [old for old, node in self.classes.items() if self.installed.get(old) is not node]
        if others:
            logging.info("IP-Adapter: another pack has %s, so it is left all the old nodes.", ", ".join(others[:3]))
            self.withdraw()

    def withdraw(self) -> None:
        """Answer to none. A title of the old pack's own words may be its own: it goes with the class that it is of."""
        for old, node in self.classes.items():
            if self.installed.get(old) is node:
                del self.installed[old]
                self.shown.pop(old, None)


def switched_off() -> bool:
    """Whether the user wants none of this."""
    return os.environ.get(SWITCH, "").strip().lower() in OFF


def register_old_ids(classes: Mapping[str, type], titles: Mapping[str, str]) -> None:
    """Offer the classes now, and look again when the server starts, behind the last pack."""
    if switched_off():
        return
    host = sys.modules["nodes"]
    ids = OldIds(classes, titles, host.NODE_CLASS_MAPPINGS, host.NODE_DISPLAY_NAME_MAPPINGS)
    ids.offer()
    server = running_server()
    if server is not None:
        server.app.on_startup.append(ids.settle)
