"""InstantCharacter for FLUX: tokens of two encoders' hidden states that follow the noise level, in every block.

Source: Tencent's InstantCharacter `pipeline.py`, `models/attn_processor.py`. Its pipeline leaves the image in place
where it computes the negative side.
"""

from __future__ import annotations

from ...backbones.bases import FLUX_1
from ...backbones.flux import FLUX
from ...backbones.joint import Joining, Query
from ...encoders.published import SIGLIP, page
from ...errors import IPAdapterError
from ...prompts.prompt import Feature
from ..character import CharacterProjection
from ..checkpoint import Checkpoint, shape
from ..family import Family, Offer, ProjectionSpec, PublishedFile, Unconditional
from ..layer import ScaledProjection
from ..layout import KEYS, VALUES, LayerLayout
from ..projection import DIM_HEAD
from ..reading import read_perceiver

RESAMPLER, BLOCKS = "resampler.", "cross_layer_blocks."
TENSORS = (KEYS, "to_k_ip.bias", VALUES, "to_v_ip.bias", "norm_ip_q.scale", "norm_ip_k.scale")


def read_character(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """`resampler.latents` [1, tokens, dim] and the rest of it as in a Resampler that follows the noise level, behind
    so many blocks as wide as the features."""
    feature_dim, inner_dim, depth, ff_dim = read_perceiver(checkpoint, RESAMPLER)
    _, tokens, dim = shape(checkpoint, "image_proj", f"{RESAMPLER}latents", 3)
    _, time_dim = shape(checkpoint, "image_proj", f"{RESAMPLER}time_embedding.linear_1.weight", 2)
    blocks = {key.removeprefix(BLOCKS).split(".")[0] for key in checkpoint.image_proj if key.startswith(BLOCKS)}
    if feature_dim % DIM_HEAD:
        raise IPAdapterError(
            f"'{checkpoint.name}' reads features {feature_dim} wide, where a multiple of {DIM_HEAD} is needed."
        )
    sizes = (tokens, dim, inner_dim, depth, ff_dim)
    return ProjectionSpec(INSTANT_CHARACTER, feature_dim, context_dim, *sizes, time_dim=time_dim, blocks=len(blocks))


INSTANT_CHARACTER = Family(
    title="InstantCharacter",
    reads=(Feature.CHARACTER,),
    nothing=Unconditional.THE_IMAGE,
    recognise=lambda checkpoint, context_dim: f"{RESAMPLER}latents" in checkpoint.image_proj,
    read=read_character,
    projection=CharacterProjection,
    advice="0.8 to 0.9; FLUX.1-dev needs no negative prompt (cfg 1)",
    backbone=FLUX,
    layers=LayerLayout(tensors=TENSORS, mark=r"\d+\.norm_ip_q\.scale"),
    layer=ScaledProjection,
    joining=Joining(Query.UNSCALED),
    base=lambda projection: FLUX_1,
    offers=(Offer(18, "FLUX InstantCharacter", base=FLUX_1),),
    published=(
        PublishedFile(
            "flux-ip-adapter-instantcharacter.bin",
            FLUX_1,
            page("tencent/InstantCharacter", "instantcharacter_ip-adapter.bin"),
            SIGLIP,
        ),
    ),
)
