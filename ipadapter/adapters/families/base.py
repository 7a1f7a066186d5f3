"""The paper's adapter: a linear map of the image embedding to four tokens."""

from __future__ import annotations

from ...encoders.published import VIT_BIGG
from ...prompts.prompt import Feature
from ..checkpoint import Checkpoint, shape
from ..family import Family, Offer, ProjectionSpec, TrainingStart, Unconditional
from ..projection import LinearProjection
from ..reading import whole_tokens
from .addresses import for_sd15, for_sdxl

LIGHT = "light"  # a word of files that no tensor tells


def read_base(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """`proj` [tokens · context, E]: one linear map and a LayerNorm."""
    rows, feature_dim = shape(checkpoint, "image_proj", "proj.weight", 2)
    return start_base(whole_tokens(checkpoint, "proj", rows, context_dim), feature_dim, context_dim)


def start_base(tokens: int, feature_dim: int, context_dim: int) -> ProjectionSpec:
    """`tutorial_train.py`."""
    return ProjectionSpec(BASE, feature_dim, context_dim, tokens)


BASE = Family(
    title="base",
    reads=(Feature.IMAGE_EMBEDS,),
    nothing=Unconditional.ZERO_EMBEDDING,
    recognise=lambda checkpoint, context_dim: "proj.weight" in checkpoint.image_proj,
    read=read_base,
    projection=LinearProjection,
    advice="1 for an image prompt alone, about 0.5 beside a text prompt",
    training=TrainingStart(4, start_base),
    offers=(
        Offer(3, "STANDARD (medium strength)", other=(LIGHT,)),
        Offer(4, "LIGHT - SD1.5 only (low strength)", word=LIGHT, better="v11"),
        Offer(5, "VIT-G (medium strength)", other=(LIGHT,), encoder=VIT_BIGG),
    ),
    published=(
        for_sd15("ip-adapter_sd15.safetensors"),
        for_sd15("ip-adapter_sd15_light.safetensors"),
        for_sd15("ip-adapter_sd15_light_v11.bin"),
        for_sd15("ip-adapter_sd15_vit-G.safetensors", VIT_BIGG),
        for_sdxl("ip-adapter_sdxl_vit-h.safetensors"),
        for_sdxl("ip-adapter_sdxl.safetensors", VIT_BIGG),
    ),
)
