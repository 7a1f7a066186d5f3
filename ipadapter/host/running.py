"""The server of this process, where it is one."""

from __future__ import annotations

import sys
from typing import Any


def running_server() -> Any:
    """The host's server, where one runs."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
