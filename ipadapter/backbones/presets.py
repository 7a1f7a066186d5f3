"""What a preset of weights by layer is made of.

`first` multiplies the weight, `second` the second weight of presets that have two; an inverted layer shows the image
to the negative side and nothing to the positive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerShare:
    """What a layer gets of a preset's two weights."""

    first: float = 0.0
    second: float = 0.0
    inverted: bool = False


FULL_SHARE, NO_SHARE = LayerShare(1.0), LayerShare()
SECOND_SHARE, AWAY_SHARE = LayerShare(second=1.0), LayerShare(second=1.0, inverted=True)

LayerShares = dict[tuple[str, int], LayerShare]


@dataclass(frozen=True)
class BlockTable:
    """Weights by block; `rest` is for all others."""

    blocks: Mapping[tuple[str, int], LayerShare]
    rest: LayerShare = NO_SHARE


@dataclass(frozen=True)
class Slope:
    """Weights by how far along the model's blocks a layer is: t of `count`, in the order of execution."""

    share: Callable[[int, int], float]


@dataclass(frozen=True)
class ByPart:
    """Weights by part of the model; a part that is not named has 1."""

    parts: Mapping[str, float]


@dataclass(frozen=True)
class ByShape:
    """A table for each shape of model."""

    tables: Mapping[str, BlockTable]


LayerPreset = Slope | ByPart | ByShape


def blocks(part: str, *numbers: int, share: LayerShare = FULL_SHARE) -> LayerShares:
    """The same share for some blocks of a part."""
    return {(part, number): share for number in numbers}
