"""Adapters for FLUX that people train with ai-toolkit: tokens as wide as the model, asked by what knows its place.

Source: ostris/ai-toolkit `toolkit/ip_adapter.py` (its processor for FLUX). None is published. What stands for no image
is taken to be what it is for the paper's adapters.
"""

from __future__ import annotations

from dataclasses import replace

from ...backbones.bases import FLUX_1
from ...backbones.flux import DOUBLE, FLUX, SINGLE
from ...backbones.joint import Joining, Query
from ..checkpoint import Checkpoint
from ..family import Family, ProjectionSpec
from ..layout import EVERY_LAYER
from .base import BASE, read_base
from .plus import PLUS, read_plus


def read_toolkit(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """The paper's projection."""
    return replace(read_base(checkpoint, context_dim), family=TOOLKIT_FLUX)


def read_toolkit_plus(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """The Resampler."""
    return replace(read_plus(checkpoint, context_dim), family=TOOLKIT_FLUX_PLUS)


TOOLKIT_FLUX: Family = replace(
    BASE,
    title="ai-toolkit FLUX",
    read=read_toolkit,
    advice="what its training settings say; FLUX.1-dev needs no negative prompt (cfg 1)",
    backbone=FLUX,
    layers=EVERY_LAYER,
    joining=Joining(Query.PLACED, to_text=(DOUBLE, SINGLE)),
    base=lambda projection: FLUX_1,
    training=None,
    offers=(),
    published=(),
)
TOOLKIT_FLUX_PLUS: Family = replace(
    TOOLKIT_FLUX,
    title="ai-toolkit FLUX plus",
    reads=PLUS.reads,
    nothing=PLUS.nothing,
    recognise=PLUS.recognise,
    read=read_toolkit_plus,
    projection=PLUS.projection,
)
