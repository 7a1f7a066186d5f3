"""FaceID Plus: FaceID's tokens read the encoder's hidden states of the face. Kolors' has rules of its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...backbones.bases import KOLORS
from ...encoders.published import VIT_H, VIT_L_336, page
from ...prompts.prompt import FACE_WIDTH, Feature
from ..checkpoint import Checkpoint
from ..face_settings import FaceSettings, FaceVersion
from ..family import Family, Offer, ProjectionSpec, PublishedFile, TrainingStart, Unconditional
from ..projection import FaceIDPlusProjection
from ..reading import read_perceiver, row_count
from .addresses import KOLORS_FACES, for_faces
from .face_id import LORA_RANK, read_identity, start_identity
from .plus import TRAINED_DEPTH, refuse_width

KOLORS_TEXT, KOLORS_NARROWED = 4096, 2048  # width of Kolors' text features, and what its UNet narrows them to


def has_perceiver(checkpoint: Checkpoint, context_dim: int) -> bool:
    """Whether a face's tokens read hidden states."""
    return "perceiver_resampler.proj_in.weight" in checkpoint.image_proj


def is_for_kolors(checkpoint: Checkpoint, context_dim: int) -> bool:
    """Whether the tokens are as wide as Kolors' text, and go through its UNet's own narrowing."""
    widths = (row_count(checkpoint, "norm.weight"), context_dim)
    return has_perceiver(checkpoint, context_dim) and widths == (KOLORS_TEXT, KOLORS_NARROWED)


def read_plus_identity(family: Family, checkpoint: Checkpoint, width: int) -> ProjectionSpec:
    """FaceID's tokens, which a perceiver then lets read the encoder's hidden states."""
    identity = read_identity(family, checkpoint, width)
    feature_dim, inner_dim, depth, ff_dim = read_perceiver(checkpoint, "perceiver_resampler.")
    return replace(
        identity,
        feature_dim=feature_dim,
        face_dim=identity.feature_dim,
        inner_dim=inner_dim,
        depth=depth,
        ff_dim=ff_dim,
    )


def start_plus_identity(tokens: int, feature_dim: int, context_dim: int) -> ProjectionSpec:
    """`ProjPlusModel`: FaceID's tokens, and a perceiver as wide as the text context, with heads of 64."""
    refuse_width(FACE_ID_PLUS, context_dim, "FaceID")
    return replace(
        start_identity(tokens, FACE_WIDTH, context_dim),
        family=FACE_ID_PLUS,
        feature_dim=feature_dim,
        face_dim=FACE_WIDTH,
        inner_dim=context_dim,
        depth=TRAINED_DEPTH,
        ff_dim=4 * context_dim,
    )


def face_shares(face: FaceSettings) -> tuple[Tensor, ...]:
    """What the projection takes of the identity's own tokens, and of the perceiver's."""
    return (torch.tensor(face.shares),)


FACE_ID_PLUS: Family = Family(
    title="FaceID Plus",
    reads=(Feature.FACE, Feature.PENULTIMATE),
    nothing=Unconditional.ZERO_PIXELS,
    recognise=has_perceiver,
    read=lambda checkpoint, context_dim: read_plus_identity(FACE_ID_PLUS, checkpoint, context_dim),
    projection=FaceIDPlusProjection,
    advice="0.7 to 1; a lower structure in FaceID Settings leaves hair and pose to the text (v2)",
    settings=face_shares,
    with_lora=True,
    versions=True,
    training=TrainingStart(4, start_plus_identity, LORA_RANK, FaceSettings(FaceVersion.V2)),
    offers=(
        Offer(10, "FACEID PLUS - SD1.5 only", version=FaceVersion.V1),
        Offer(11, "FACEID PLUS V2", version=FaceVersion.V2),
    ),
    published=(
        for_faces("ip-adapter-faceid-plus_sd15.bin", "SD1.5", VIT_H, FaceVersion.V1),
        for_faces("ip-adapter-faceid-plusv2_sd15.bin", "SD1.5", VIT_H, FaceVersion.V2),
        for_faces("ip-adapter-faceid-plusv2_sdxl.bin", "SDXL", VIT_H, FaceVersion.V2),
    ),
)

# Trained without a LoRA, on raw embeddings; "no image" is zero for it, and it encodes nothing either.
KOLORS_FACE_ID_PLUS: Family = replace(
    FACE_ID_PLUS,
    nothing=Unconditional.ZERO_EMBEDDING,
    recognise=is_for_kolors,
    read=lambda checkpoint, context_dim: read_plus_identity(KOLORS_FACE_ID_PLUS, checkpoint, KOLORS_TEXT),
    base=lambda projection: KOLORS,
    raw_face=True,
    with_lora=False,
    narrowed_to=KOLORS_NARROWED,
    training=None,
    face_pack="antelopev2",
    published=(
        PublishedFile(
            "ipa-faceid-plus.bin", KOLORS, page(KOLORS_FACES, "ipa-faceid-plus.bin"), VIT_L_336, FaceVersion.V2
        ),
    ),
    offers=(),
)
