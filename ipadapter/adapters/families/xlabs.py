"""XLabs' adapters for FLUX: a linear map of CLIP-L's embedding to tokens, and a second attention behind double blocks.

Sources: XLabs-AI/x-flux `src/flux/modules/layers.py` (`IPDoubleStreamBlockProcessor`), `image_proj`; diffusers
`models/transformers/transformer_flux.py` (`FluxIPAdapterAttnProcessor`).
"""

from __future__ import annotations

from ...backbones.bases import FLUX_1
from ...backbones.flux import DOUBLE, FLUX
from ...backbones.joint import Joining
from ...encoders.published import VIT_L, page
from ...prompts.prompt import Feature
from ..checkpoint import Checkpoint, shape
from ..family import Family, Offer, ProjectionSpec, PublishedFile, TrainingStart, Unconditional
from ..layer import BiasedProjection
from ..layout import KEYS, VALUES, LayerLayout
from ..projection import LinearProjection
from ..reading import whole_tokens
from ..xlabs_layout import xlabs_name

BIASES = (KEYS, "to_k_ip.bias", VALUES, "to_v_ip.bias")


def read_xlabs(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """`proj` [tokens · context, E]: one linear map and a LayerNorm; version 1 has 4 tokens, version 2 has 16."""
    rows, feature_dim = shape(checkpoint, "image_proj", "proj.weight", 2)
    return start_xlabs(whole_tokens(checkpoint, "proj", rows, context_dim), feature_dim, context_dim)


def start_xlabs(tokens: int, feature_dim: int, context_dim: int) -> ProjectionSpec:
    """As version 1 and version 2 have it, with 4 and with 16 tokens."""
    return ProjectionSpec(XLABS, feature_dim, context_dim, tokens)


XLABS = Family(
    title="XLabs FLUX",
    reads=(Feature.IMAGE_EMBEDS,),
    nothing=Unconditional.BLACK_PICTURE,
    recognise=lambda checkpoint, context_dim: "proj.weight" in checkpoint.image_proj,
    read=read_xlabs,
    projection=LinearProjection,
    advice="0.6 to 1; FLUX.1-dev needs no negative prompt (cfg 1)",
    backbone=FLUX,
    layers=LayerLayout(tensors=BIASES, mark=r"\d+\.to_k_ip\.bias"),
    layer=BiasedProjection,
    parts=(DOUBLE,),
    joining=Joining(behind=True),
    file_name=xlabs_name,
    base=lambda projection: FLUX_1,
    training=TrainingStart(16, start_xlabs),
    offers=(Offer(14, "FLUX XLabs", better="v2", base=FLUX_1),),
    published=(
        PublishedFile(
            "flux-ip-adapter-v2.safetensors",
            FLUX_1,
            page("XLabs-AI/flux-ip-adapter-v2", "ip_adapter.safetensors"),
            VIT_L,
        ),
        PublishedFile(
            "flux-ip-adapter.safetensors", FLUX_1, page("XLabs-AI/flux-ip-adapter", "ip_adapter.safetensors"), VIT_L
        ),
    ),
)
