"""What patches in a model call, besides asking for their branches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...backbones.backbone import Grid, Place

# Takes a layer's place, its own output (R, L, C), what each image prompt adds to it and the size of its activations.
Measure = Callable[[Place, Tensor, list[Tensor], Grid], None]


def no_end() -> None:
    """What is done where nothing was made."""


@dataclass(frozen=True)
class Feed:
    """`release` drops what was made for a run; `measure` is told what was added, where somebody records it; `behind`
    are the blocks to whose output something is added; `models` is what the host loads for a run."""

    release: Callable[[], None] = no_end
    measure: Measure | None = None
    behind: frozenset[Place] = frozenset()
    models: tuple[Any, ...] = ()


def forward_call(target: Any, method: str, *arguments: Any) -> Any:
    """Call a method that a wrapped patch may have."""
    function = getattr(target, method, None)
    return function(*arguments) if function else None
