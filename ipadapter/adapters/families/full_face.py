"""The full-face adapter: a token for every patch of a face."""

from __future__ import annotations

from ...prompts.prompt import Feature
from ..checkpoint import Checkpoint, shape
from ..family import Family, Offer, ProjectionSpec, Unconditional
from ..projection import FullFaceProjection
from .addresses import for_sd15


def read_full_face(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """`proj.0` [dim, D], `proj.2` [context, dim]: a token for every patch."""
    dim, feature_dim = shape(checkpoint, "image_proj", "proj.0.weight", 2)
    return ProjectionSpec(FULL_FACE, feature_dim, context_dim, None, dim=dim)


FULL_FACE = Family(
    title="full-face",
    reads=(Feature.PENULTIMATE,),
    nothing=Unconditional.ZERO_PIXELS,
    recognise=lambda checkpoint, context_dim: "proj.3.weight" in checkpoint.image_proj,
    read=read_full_face,
    projection=FullFaceProjection,
    advice="about 0.7, with a reference that is cropped to the face",
    offers=(Offer(6, "FULL FACE - SD1.5 only (portraits stronger)"),),
    published=(for_sd15("ip-adapter-full-face_sd15.safetensors"),),
)
