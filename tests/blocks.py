"""What another node puts in the place of a transformer's whole block."""

from __future__ import annotations

from typing import Any


class TheirBlock:
    """The block, and a count of its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        out: dict[str, Any] = extra["original_block"](args)
        return out
