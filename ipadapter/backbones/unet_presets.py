"""Weights by layer that people know by name, for the two shapes of UNet that the public models have.

A block is named as the host names it: ("input", 4) is the transformer in `input_blocks.4`. The sets are InstantStyle's
(arXiv 2404.02733) for SDXL, and what users of ComfyUI know under these names for SD1.5.
"""

from __future__ import annotations

from collections.abc import Callable

from .presets import (
    AWAY_SHARE,
    FULL_SHARE,
    NO_SHARE,
    SECOND_SHARE,
    BlockTable,
    ByPart,
    ByShape,
    LayerPreset,
    LayerShare,
    LayerShares,
    blocks,
)

WEAK = 0.2


def by_shape(sd15: BlockTable, sdxl: BlockTable) -> ByShape:
    """A table for each of the two."""
    return ByShape({"sd15": sd15, "sdxl": sdxl})


SD15_STYLE = blocks("input", 1, 2, 4, 5) | blocks("output", 5, 6, 7, 8, 9, 10, 11)
SDXL_STYLE, SDXL_COMPOSITION = blocks("output", 1), blocks("input", 8)


def sd15_composition(share: Callable[[float], LayerShare]) -> LayerShares:
    """SD1.5's two blocks of composition, the first at a quarter."""
    return {("input", 7): share(0.25), ("input", 8): share(1.0)}


UNET_PRESETS: dict[str, LayerPreset] = {
    "weak input": ByPart({"input": WEAK}),
    "weak output": ByPart({"output": WEAK}),
    "weak middle": ByPart({"middle": WEAK}),
    "strong input": ByPart({"middle": WEAK, "output": WEAK}),
    "strong output": ByPart({"input": WEAK, "middle": WEAK}),
    "strong middle": ByPart({"input": WEAK, "output": WEAK}),
    "style transfer": by_shape(BlockTable(SD15_STYLE), BlockTable(SDXL_STYLE)),
    "composition": by_shape(BlockTable(sd15_composition(LayerShare)), BlockTable(SDXL_COMPOSITION)),
    "strong style transfer": by_shape(
        BlockTable(blocks("input", 7, 8, share=NO_SHARE), FULL_SHARE),
        BlockTable(blocks("input", 8, share=NO_SHARE), FULL_SHARE),
    ),
    "style and composition": by_shape(
        BlockTable(SD15_STYLE | sd15_composition(lambda x: LayerShare(second=x))),
        BlockTable(SDXL_STYLE | blocks("input", 8, share=SECOND_SHARE)),
    ),
    "strong style and composition": by_shape(
        BlockTable(blocks("input", 7, 8, share=SECOND_SHARE), FULL_SHARE),
        BlockTable(blocks("input", 8, share=SECOND_SHARE), FULL_SHARE),
    ),
    "style transfer precise": by_shape(
        BlockTable(SD15_STYLE | sd15_composition(lambda x: LayerShare(second=x, inverted=True))),
        BlockTable(SDXL_STYLE | blocks("input", 8, share=AWAY_SHARE)),
    ),
    "composition precise": by_shape(
        BlockTable(
            sd15_composition(LayerShare)
            | blocks("middle", 0, share=LayerShare(second=0.1, inverted=True))
            | blocks("output", 3, 4, share=LayerShare(second=0.1, inverted=True)),
            AWAY_SHARE,
        ),
        BlockTable(SDXL_COMPOSITION | blocks("output", 1, share=AWAY_SHARE), LayerShare(second=0.1, inverted=True)),
    ),
}
