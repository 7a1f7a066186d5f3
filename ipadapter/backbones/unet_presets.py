"""Weights by layer that people know by name, for the two shapes of UNet that the public models have.

A block is named as the host names it: ("input", 4) is the transformer in `input_blocks.4`. The sets are InstantStyle's
(arXiv 2404.02733) for SDXL, and what users of ComfyUI know under these names for SD1.5.
"""

from __future__ import annotations

from collections.abc import Callable

from .presets import ALL, AWAY, NONE, SECOND, ByPart, ByShape, Preset, Share, Shares, Table, blocks

WEAK = 0.2


def by_shape(sd15: Table, sdxl: Table) -> ByShape:
    """A table for each of the two."""
    return ByShape({"sd15": sd15, "sdxl": sdxl})


SD15_STYLE = blocks("input", 1, 2, 4, 5) | blocks("output", 5, 6, 7, 8, 9, 10, 11)
SDXL_STYLE, SDXL_COMPOSITION = blocks("output", 1), blocks("input", 8)


def sd15_composition(share: Callable[[float], Share]) -> Shares:
    """SD1.5's two blocks of composition, the first at a quarter."""
    return {("input", 7): share(0.25), ("input", 8): share(1.0)}


PRESETS: dict[str, Preset] = {
    "weak input": ByPart({"input": WEAK}),
    "weak output": ByPart({"output": WEAK}),
    "weak middle": ByPart({"middle": WEAK}),
    "strong input": ByPart({"middle": WEAK, "output": WEAK}),
    "strong output": ByPart({"input": WEAK, "middle": WEAK}),
    "strong middle": ByPart({"input": WEAK, "output": WEAK}),
    "style transfer": by_shape(Table(SD15_STYLE), Table(SDXL_STYLE)),
    "composition": by_shape(Table(sd15_composition(Share)), Table(SDXL_COMPOSITION)),
    "strong style transfer": by_shape(
        Table(blocks("input", 7, 8, share=NONE), ALL), Table(blocks("input", 8, share=NONE), ALL)
    ),
    "style and composition": by_shape(
        Table(SD15_STYLE | sd15_composition(lambda x: Share(second=x))),
        Table(SDXL_STYLE | blocks("input", 8, share=SECOND)),
    ),
    "strong style and composition": by_shape(
        Table(blocks("input", 7, 8, share=SECOND), ALL), Table(blocks("input", 8, share=SECOND), ALL)
    ),
    "style transfer precise": by_shape(
        Table(SD15_STYLE | sd15_composition(lambda x: Share(second=x, inverted=True))),
        Table(SDXL_STYLE | blocks("input", 8, share=AWAY)),
    ),
    "composition precise": by_shape(
        Table(
            sd15_composition(Share)
            | blocks("middle", 0, share=Share(second=0.1, inverted=True))
            | blocks("output", 3, 4, share=Share(second=0.1, inverted=True)),
            AWAY,
        ),
        Table(SDXL_COMPOSITION | blocks("output", 1, share=AWAY), Share(second=0.1, inverted=True)),
    ),
}
