"""FaceID Portrait: sixteen tokens of one or several pictures of a person, without a LoRA."""

from __future__ import annotations

from dataclasses import replace

from ...prompts.prompt import FACE_WIDTH, Feature
from ..checkpoint import Checkpoint
from ..family import Family, Offer, ProjectionSpec, Unconditional
from ..lora import lora_tensors
from ..projection import PerceptronProjection, Resampler
from ..reading import row_count
from . import plus
from .addresses import for_faces
from .face_id import has_identity, read_identity

TOKENS = 16
UNNORM = (FACE_WIDTH, 2048)  # width of what its Resampler reads, and of SDXL's text


def has_many_tokens(checkpoint: Checkpoint, context_dim: int) -> bool:
    """Whether a FaceID adapter has sixteen tokens and no LoRA."""
    many = row_count(checkpoint, "proj.2.weight") == TOKENS * row_count(checkpoint, "norm.weight")
    return has_identity(checkpoint, context_dim) and many and not lora_tensors(checkpoint)


def resamples_a_face(checkpoint: Checkpoint, context_dim: int) -> bool:
    """Whether a Resampler reads a face's embedding."""
    weight = checkpoint.image_proj.get("proj_in.weight")
    reads = weight.shape[-1] if weight is not None and weight.ndim else 0
    return plus.PLUS.recognise(checkpoint, context_dim) and (reads, context_dim) == UNNORM


def read_unnorm(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """The Resampler, over a face embedding."""
    return replace(plus.read_plus(checkpoint, context_dim), family=PORTRAIT_UNNORM)


PORTRAIT: Family = Family(
    title="FaceID Portrait",
    reads=(Feature.FACE,),
    nothing=Unconditional.ZERO_EMBEDDING,
    recognise=has_many_tokens,
    read=lambda checkpoint, context_dim: read_identity(PORTRAIT, checkpoint, context_dim),
    projection=PerceptronProjection,
    advice="0.7 to 1, with up to five pictures of the person",
    offers=(Offer(12, "FACEID PORTRAIT (style transfer)", better="v11"),),
    published=(
        for_faces("ip-adapter-faceid-portrait_sd15.bin", "SD1.5"),
        for_faces("ip-adapter-faceid-portrait-v11_sd15.bin", "SD1.5"),
        for_faces("ip-adapter-faceid-portrait_sdxl.bin", "SDXL"),
    ),
)

PORTRAIT_UNNORM = Family(
    title="FaceID Portrait unnorm",
    reads=(Feature.FACE,),
    nothing=Unconditional.ZERO_EMBEDDING,
    recognise=resamples_a_face,
    read=read_unnorm,
    projection=Resampler,
    advice="0.5 to 0.8, as it is strong",
    raw_face=True,
    offers=(Offer(13, "FACEID PORTRAIT UNNORM - SDXL only (strong)"),),
    published=(for_faces("ip-adapter-faceid-portrait_sdxl_unnorm.bin", "SDXL"),),
)
