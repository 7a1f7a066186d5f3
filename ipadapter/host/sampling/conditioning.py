"""Text conditionings that carry something of an image prompt: a region's mask, or the name of a bound prompt."""

from __future__ import annotations

from typing import Any

import node_helpers
from torch import Tensor

from .roles import COND_KEY

Conditioning = list[list[Any]]


def conds_within(conditioning: Conditioning | None, mask: Tensor, strength: float = 1.0) -> Conditioning | None:
    """A conditioning that speaks only inside a mask, as the host's ConditioningSetMask makes it."""
    if conditioning is None:
        return None
    values = {"mask": mask, "set_area_to_bounds": False, "mask_strength": strength}
    made: Conditioning | None = node_helpers.conditioning_set_values(conditioning, values)
    return made


def carrying(conditioning: Conditioning | None, name: str) -> Conditioning | None:
    """A conditioning whose rows follow the image prompt bound under a name, beside those it follows already."""
    if conditioning is None:
        return None
    made: Conditioning | None = node_helpers.conditioning_set_values(conditioning, {COND_KEY: (name,)}, append=True)
    return made
