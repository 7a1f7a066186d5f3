"""Joint attention, in which text and picture attend to each other: what such models have in common, and how an image
prompt comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from .backbone import BlockName, CrossAttentionLayer, Grid
from .presets import LayerPreset

PATCH = 2  # latent pixels that a row of the picture stands for, along each side


class Query(Enum):
    """What of the model's own query asks the image tokens."""

    NORMED = "as the model has normalised it, before it knows its place"
    UNSCALED = "the same without the scale that the model's norm has"
    PLACED = "with its place in the picture turned into it"


@dataclass(frozen=True)
class Joining:
    """Where a family of adapters asks and adds.

    What the image tokens say is added to the attention's output before the block's own projection, so that its gate
    counts; with `behind`, to what the whole block gives. Rows of the text get it too in the parts named in `to_text`.
    With `own` the picture's own keys and values are read beside the tokens, in one softmax.
    """

    query: Query = Query.NORMED
    behind: bool = False
    to_text: tuple[str, ...] = ()
    own: bool = False


class JointBlocks:
    """What every `Backbone` of such blocks says alike: each part is a level of its own, and has no presets."""

    single: frozenset[str] = frozenset()
    presets: Mapping[str, LayerPreset] = {}
    pixels = 8

    def short(self, block: BlockName) -> str:
        return f"{block[0][0]} {block[1]}"

    def block_at(self, name: str) -> str | None:
        return None

    def levels_of(self, layers: Sequence[CrossAttentionLayer]) -> dict[BlockName, str]:
        return {layer.block: layer.place[0] for layer in layers}

    def shape_of(self, layers: Sequence[CrossAttentionLayer]) -> str | None:
        return None

    def grids(self, latent: Grid) -> tuple[Grid, ...]:
        """Two by two latent pixels a row, the last of an odd side filled up."""
        return ((-(-latent[0] // PATCH), -(-latent[1] // PATCH)),)
