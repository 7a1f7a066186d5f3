"""Adapters for FLUX that people train with ai-toolkit: tokens as wide as the model, asked by what knows its place.

Source: ostris/ai-toolkit `toolkit/ip_adapter.py` (its processor for FLUX). None is published.
"""

from __future__ import annotations

from ...backbones.bases import FLUX_1
from ...backbones.flux import DOUBLE, FLUX, SINGLE
from ...backbones.joint import Joining, Query
from ...prompts.prompt import Feature
from ..checkpoint import Checkpoint, shape
from ..family import Family, ProjectionSpec, Unconditional
from ..layout import EVERY_LAYER
from ..projection import LinearProjection, Resampler
from ..reading import read_perceiver, whole_tokens

ADVICE = "what its training settings say; FLUX.1-dev needs no negative prompt (cfg 1)"
EVERYWHERE = Joining(Query.PLACED, to_text=(DOUBLE, SINGLE))


def read_toolkit(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """`proj` [tokens · context, E]: one linear map and a LayerNorm."""
    rows, feature_dim = shape(checkpoint, "image_proj", "proj.weight", 2)
    return ProjectionSpec(TOOLKIT_FLUX, feature_dim, context_dim, whole_tokens(checkpoint, "proj", rows, context_dim))


def read_toolkit_plus(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """The Resampler, over the encoder's hidden states."""
    _, tokens, dim = shape(checkpoint, "image_proj", "latents", 3)
    feature_dim, inner_dim, depth, ff_dim = read_perceiver(checkpoint, "")
    return ProjectionSpec(TOOLKIT_FLUX_PLUS, feature_dim, context_dim, tokens, dim, inner_dim, depth, ff_dim)


TOOLKIT_FLUX = Family(
    title="ai-toolkit FLUX",
    reads=(Feature.IMAGE_EMBEDS,),
    nothing=Unconditional.ZERO_EMBEDDING,
    recognise=lambda checkpoint, context_dim: "proj.weight" in checkpoint.image_proj,
    read=read_toolkit,
    projection=LinearProjection,
    advice=ADVICE,
    backbone=FLUX,
    layers=EVERY_LAYER,
    joining=EVERYWHERE,
    base=lambda projection: FLUX_1,
)
TOOLKIT_FLUX_PLUS = Family(
    title="ai-toolkit FLUX plus",
    reads=(Feature.PENULTIMATE,),
    nothing=Unconditional.ZERO_PIXELS,
    recognise=lambda checkpoint, context_dim: "latents" in checkpoint.image_proj,
    read=read_toolkit_plus,
    projection=Resampler,
    advice=ADVICE,
    backbone=FLUX,
    layers=EVERY_LAYER,
    joining=EVERYWHERE,
    base=lambda projection: FLUX_1,
)
