"""InstantX's adapter for FLUX: 128 tokens of SigLIP's embedding, and a second attention in every block.

Source: InstantX/FLUX.1-dev-IP-Adapter `attention_processor.py`, `pipeline_flux_ipa.py` (`MLPProjModel`).
"""

from __future__ import annotations

from ...backbones.bases import FLUX_1
from ...backbones.flux import FLUX, SINGLE
from ...backbones.joint import Joining
from ...encoders.published import SIGLIP, page
from ...prompts.prompt import Feature
from ..checkpoint import Checkpoint, shape
from ..family import Family, Offer, ProjectionSpec, PublishedFile, Unconditional
from ..layer import NormedProjection
from ..layout import EVERY_LAYER
from ..projection import PerceptronProjection
from ..reading import whole_tokens


def read_instantx(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """`proj.0` [dim, E], `proj.2` [tokens · context, dim]: two linear maps and a LayerNorm."""
    dim, feature_dim = shape(checkpoint, "image_proj", "proj.0.weight", 2)
    rows, _ = shape(checkpoint, "image_proj", "proj.2.weight", 2)
    tokens = whole_tokens(checkpoint, "proj.2", rows, context_dim)
    return ProjectionSpec(INSTANTX_FLUX, feature_dim, context_dim, tokens, dim=dim)


INSTANTX_FLUX = Family(
    title="InstantX FLUX",
    reads=(Feature.IMAGE_EMBEDS,),
    nothing=Unconditional.ZERO_EMBEDDING,
    recognise=lambda checkpoint, context_dim: "proj.2.weight" in checkpoint.image_proj,
    read=read_instantx,
    projection=PerceptronProjection,
    advice="0.5 to 0.9; FLUX.1-dev needs no negative prompt (cfg 1)",
    backbone=FLUX,
    layers=EVERY_LAYER,
    layer=NormedProjection,
    joining=Joining(to_text=(SINGLE,)),
    base=lambda projection: FLUX_1,
    offers=(Offer(15, "FLUX InstantX", base=FLUX_1),),
    published=(
        PublishedFile(
            "flux-ip-adapter-instantx.bin", FLUX_1, page("InstantX/FLUX.1-dev-IP-Adapter", "ip-adapter.bin"), SIGLIP
        ),
    ),
)
