"""The paper's fine-grained adapter: sixteen tokens from the penultimate features, decoupled attention."""

from __future__ import annotations

from typing import Any

from ipadapter.adapters.families import PLUS

from ..adapting import build_adapter


def build(seed: int) -> dict[str, Any]:
    """Train and save it."""
    return build_adapter("ip-adapter-plus", PLUS, seed)
