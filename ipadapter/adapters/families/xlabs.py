"""XLabs' adapters for FLUX: a linear map of CLIP-L's embedding to tokens, and a second attention behind double blocks.

Sources: XLabs-AI/x-flux `src/flux/modules/layers.py` (`IPDoubleStreamBlockProcessor`), `image_proj`; diffusers
`models/transformers/transformer_flux.py` (`FluxIPAdapterAttnProcessor`).
"""

from __future__ import annotations

from dataclasses import replace

from ...backbones.bases import FLUX_1
from ...backbones.flux import DOUBLE, FLUX
from ...backbones.joint import Joining
from ...encoders.published import VIT_L, page
from ..checkpoint import Checkpoint
from ..family import Family, Offer, ProjectionSpec, PublishedFile, TrainingStart, Unconditional
from ..layer import BiasedProjection
from ..layout import KEYS, VALUES, LayerLayout
from ..xlabs_layout import xlabs_name
from .base import BASE, read_base, start_base

BIASES = (KEYS, "to_k_ip.bias", VALUES, "to_v_ip.bias")


def read_xlabs(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """The paper's projection; version 1 has 4 tokens, version 2 has 16."""
    return replace(read_base(checkpoint, context_dim), family=XLABS)


def start_xlabs(tokens: int, feature_dim: int, context_dim: int) -> ProjectionSpec:
    """The same before its training."""
    return replace(start_base(tokens, feature_dim, context_dim), family=XLABS)


XLABS: Family = replace(
    BASE,
    title="XLabs FLUX",
    nothing=Unconditional.BLACK_PICTURE,
    read=read_xlabs,
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
