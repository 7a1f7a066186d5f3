"""Weights by layer that people know by name, for the two shapes of UNet that the public models have.

A table says what the transformer blocks it names weigh; `rest` is for all others. A block is named as the host names
it: ("input", 4) is the transformer in `input_blocks.4`. The sets are InstantStyle's (arXiv 2404.02733) for SDXL, and
what users of ComfyUI know under these names for SD1.5. `first` multiplies the weight, `second` the second weight of
presets that have two; an inverted layer shows the image to the negative side and nothing to the positive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Block = tuple[str, int]


@dataclass(frozen=True)
class Share:
    """What a layer gets of a preset's two weights."""

    first: float = 0.0
    second: float = 0.0
    inverted: bool = False


ALL, NONE = Share(1.0), Share()
SECOND, AWAY = Share(second=1.0), Share(second=1.0, inverted=True)


@dataclass(frozen=True)
class Table:
    """Weights by block."""

    blocks: Mapping[Block, Share]
    rest: Share = NONE


@dataclass(frozen=True)
class Slope:
    """Weights by how far along the UNet's transformers a layer is: t of `count`, in the order of execution."""

    share: Callable[[int, int], float]


@dataclass(frozen=True)
class ByPart:
    """Weights by part of the UNet."""

    input: float = 1.0
    middle: float = 1.0
    output: float = 1.0


@dataclass(frozen=True)
class ByShape:
    """A table for each shape of UNet."""

    sd15: Table
    sdxl: Table


Preset = Slope | ByPart | ByShape

LINEAR = "linear"
FLOOR, WEAK = 0.05, 0.2


def sloped(share: Callable[[float], float]) -> Slope:
    """From `FLOOR` to 1 as `share` goes from 0 to 1."""
    return Slope(lambda t, count: FLOOR + (1 - FLOOR) * share(t / count))


def blocks(part: str, *numbers: int, share: Share = ALL) -> dict[Block, Share]:
    """The same share for some blocks of a part."""
    return {(part, number): share for number in numbers}


SD15_STYLE = blocks("input", 1, 2, 4, 5) | blocks("output", 5, 6, 7, 8, 9, 10, 11)
SDXL_STYLE, SDXL_COMPOSITION = blocks("output", 1), blocks("input", 8)


def sd15_composition(share: Callable[[float], Share]) -> dict[Block, Share]:
    """SD1.5's two blocks of composition, the first at a quarter."""
    return {("input", 7): share(0.25), ("input", 8): share(1.0)}


PRESETS: dict[str, Preset] = {
    LINEAR: ByPart(),
    "ease in": sloped(lambda x: 1 - x),
    "ease out": sloped(lambda x: x),
    "ease in-out": sloped(lambda x: 1 - abs(2 * x - 1)),
    "reverse in-out": sloped(lambda x: abs(2 * x - 1)),
    "weak input": ByPart(input=WEAK),
    "weak output": ByPart(output=WEAK),
    "weak middle": ByPart(middle=WEAK),
    "strong input": ByPart(middle=WEAK, output=WEAK),
    "strong output": ByPart(input=WEAK, middle=WEAK),
    "strong middle": ByPart(input=WEAK, output=WEAK),
    "style transfer": ByShape(Table(SD15_STYLE), Table(SDXL_STYLE)),
    "composition": ByShape(Table(sd15_composition(Share)), Table(SDXL_COMPOSITION)),
    "strong style transfer": ByShape(
        Table(blocks("input", 7, 8, share=NONE), ALL), Table(blocks("input", 8, share=NONE), ALL)
    ),
    "style and composition": ByShape(
        Table(SD15_STYLE | sd15_composition(lambda x: Share(second=x))),
        Table(SDXL_STYLE | blocks("input", 8, share=SECOND)),
    ),
    "strong style and composition": ByShape(
        Table(blocks("input", 7, 8, share=SECOND), ALL), Table(blocks("input", 8, share=SECOND), ALL)
    ),
    "style transfer precise": ByShape(
        Table(SD15_STYLE | sd15_composition(lambda x: Share(second=x, inverted=True))),
        Table(SDXL_STYLE | blocks("input", 8, share=AWAY)),
    ),
    "composition precise": ByShape(
        Table(
            sd15_composition(Share)
            | blocks("middle", 0, share=Share(second=0.1, inverted=True))
            | blocks("output", 3, 4, share=Share(second=0.1, inverted=True)),
            AWAY,
        ),
        Table(SDXL_COMPOSITION | blocks("output", 1, share=AWAY), Share(second=0.1, inverted=True)),
    ),
}
