"""How an image prompt comes into a joint attention, in which text and picture attend to each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Query(Enum):
    """What of the model's own query asks the image tokens."""

    NORMED = "as the model has normalised it, before it knows its place"
    DIRECTION = "normalised without what the model has learned to scale it by"
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
