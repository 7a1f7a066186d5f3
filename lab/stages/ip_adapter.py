"""The paper's adapter: four tokens, decoupled attention."""

from __future__ import annotations

from typing import Any

from ipadapter.adapters.families import BASE

from ..adapting import build_adapter


def build(seed: int) -> dict[str, Any]:
    """Train and save it."""
    return build_adapter("ip-adapter", BASE, seed)
