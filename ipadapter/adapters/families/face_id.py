"""FaceID: a face's embedding to four tokens, with a LoRA on the UNet."""

from __future__ import annotations

from ...errors import IPAdapterError
from ...prompts.prompt import Feature
from ..checkpoint import Checkpoint, shape
from ..family import Family, Offer, ProjectionSpec, TrainingStart, Unconditional
from ..projection import PerceptronProjection
from ..reading import whole_tokens
from .addresses import for_faces

LORA_RANK = 128  # of what is trained beside FaceID's tokens


def has_identity(checkpoint: Checkpoint, context_dim: int) -> bool:
    """Whether a projection begins with a face's embedding."""
    return "norm.weight" in checkpoint.image_proj


def read_identity(family: Family, checkpoint: Checkpoint, width: int) -> ProjectionSpec:
    """`proj.0` [dim, 512], `proj.2` [tokens · width, dim]: two linear maps of a face embedding and a LayerNorm."""
    dim, face_dim = shape(checkpoint, "image_proj", "proj.0.weight", 2)
    rows, _ = shape(checkpoint, "image_proj", "proj.2.weight", 2)
    (found,) = shape(checkpoint, "image_proj", "norm.weight", 1)
    if found != width:
        raise IPAdapterError(
            f"'{checkpoint.name}': its tokens are {found} wide, where its to_k_ip reads {width}; the file mixes "
            "two adapters."
        )
    return ProjectionSpec(family, face_dim, width, whole_tokens(checkpoint, "proj.2", rows, width), dim=dim)


def start_identity(tokens: int, face_dim: int, context_dim: int) -> ProjectionSpec:
    """`tutorial_train_faceid.py`."""
    return ProjectionSpec(FACE_ID, face_dim, context_dim, tokens, dim=2 * face_dim)


FACE_ID: Family = Family(
    title="FaceID",
    reads=(Feature.FACE,),
    nothing=Unconditional.ZERO_EMBEDDING,
    recognise=has_identity,
    read=lambda checkpoint, context_dim: read_identity(FACE_ID, checkpoint, context_dim),
    projection=PerceptronProjection,
    advice="0.7 to 1",
    with_lora=True,
    training=TrainingStart(4, start_identity, LORA_RANK),
    offers=(Offer(9, "FACEID"),),
    published=(for_faces("ip-adapter-faceid_sd15.bin", "SD1.5"), for_faces("ip-adapter-faceid_sdxl.bin", "SDXL")),
)
