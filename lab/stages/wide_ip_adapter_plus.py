"""The paper's fine-grained adapter, in the wider world."""

from __future__ import annotations

from typing import Any

from ..designs import SIXTEEN
from ..evidence.runs import build_design


def build(seed: int) -> dict[str, Any]:
    """Train from several seeds, measure each, keep one."""
    return build_design(SIXTEEN, seed)
