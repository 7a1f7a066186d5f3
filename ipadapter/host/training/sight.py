"""What an adapter that is trained reads of pictures: an image encoder's features, faces, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...adapters.families import BASE, FACE_ID, reads_faces, sees
from ...adapters.family import Family, Unconditional
from ...adapters.features import Read
from ...errors import IPAdapterError
from ...faces.reading import (
    CROP,
    FaceAnalysis,
    FaceCut,
    PlaceInBatch,
    ReadFace,
    face_crop_size,
    read_face,
    require_analysis,
)
from ...images.pixels import Fit, prepare_pixels
from ...prompts.prompt import FACE_WIDTH, Feature, ImageFeatures
from ..encoders.encoder import (
    describe_encoder,
    encode_all,
    encode_black_picture,
    encode_zero_pixels,
    pixel_format,
    refuse_features_not_finite,
)
from ..faces.reading import pack_name


def training_sight(
    kind: Family, clip_vision: comfy.clip_vision.ClipVisionModel | None, insightface: object
) -> PictureSight:
    """What a kind of adapter sees pictures with, of what a graph gives. Raises IPAdapterError for too little."""
    if clip_vision is None and sees(kind):
        raise IPAdapterError(f"kind is {kind.title}, which reads pictures with an image encoder: connect clip_vision.")
    encoder = EncoderSight(clip_vision, kind) if clip_vision is not None and sees(kind) else None
    if encoder is not None and not reads_faces(kind):
        return encoder
    return FaceSight(require_analysis(insightface), encoder)


class PictureSight(Protocol):
    """What an adapter sees pictures with."""

    @property
    def label(self) -> str:
        """Its name, in users' words."""

    def features(self, pictures: Sequence[Tensor]) -> Read:
        """Of pictures (1, H, W, 3), (N, E) or (N, S, D) each."""

    def no_picture(self) -> Read:
        """What stands for none, (1, E) or (1, S, D) each."""


@dataclass(frozen=True)
class EncoderSight:
    """An image encoder, as an adapter of a kind reads it."""

    clip_vision: comfy.clip_vision.ClipVisionModel
    kind: Family

    @property
    def label(self) -> str:
        return describe_encoder(self.clip_vision, encode_zero_pixels(self.clip_vision))

    def features(self, pictures: Sequence[Tensor]) -> Read:
        form = pixel_format(self.clip_vision)
        pixels = torch.cat([prepare_pixels(picture, None, Fit.CROP, form) for picture in pictures])
        (encoded,) = encode_all(self.clip_vision, [pixels])
        return (self.learned(encoded),)

    def no_picture(self) -> Read:
        return (self.learned(WITHOUT_IMAGE[self.kind.nothing](self.clip_vision)),)

    def learned(self, features: ImageFeatures) -> Tensor:
        """What the kind reads of them: embeddings (N, E), or penultimate hidden states (N, S, D)."""
        encoder = describe_encoder(self.clip_vision, features)
        refuse_features_not_finite([features], encoder)
        return learned(features, self.kind, encoder)


def learned(features: ImageFeatures, kind: Family, encoder: str) -> Tensor:
    """What a kind of adapter reads of an encoder's features. Raises IPAdapterError where there is no such thing."""
    read = features.get(kind.reads[-1])
    if read is None:
        other = FACE_ID if reads_faces(kind) else BASE
        raise IPAdapterError(f"the image encoder {encoder} gives no hidden states: train a {other.title} adapter.")
    if kind.reads[-1] is Feature.IMAGE_EMBEDS and read.ndim != 2:
        raise IPAdapterError(
            f"the image encoder {encoder} gives no single image embedding, which {kind.title} adapters read: connect a "
            "CLIP encoder, or, for a UNet, train a plus adapter."
        )
    return read


def zero_embedding(clip_vision: comfy.clip_vision.ClipVisionModel) -> ImageFeatures:
    """Zeros in place of an embedding."""
    return ImageFeatures(torch.zeros_like(encode_zero_pixels(clip_vision).image_embeds))


WITHOUT_IMAGE: dict[Unconditional, Callable[[comfy.clip_vision.ClipVisionModel], ImageFeatures]] = {
    Unconditional.ZERO_EMBEDDING: zero_embedding,
    Unconditional.ZERO_PIXELS: encode_zero_pixels,
    Unconditional.BLACK_PICTURE: lambda clip_vision: ImageFeatures(encode_black_picture(clip_vision)),
}


@dataclass(frozen=True)
class FaceSight:
    """The largest face of each picture, by InsightFace: its embedding, of length 1 as FaceID reads it, and for FaceID
    Plus what an image encoder makes of the face cut out upright."""

    analysis: FaceAnalysis | None  # None: embeddings are in files
    encoder: EncoderSight | None = None

    @property
    def label(self) -> str:
        names = [pack_name(require_analysis(self.analysis)), *([self.encoder.label] if self.encoder else [])]
        return " and ".join(names)

    def features(self, pictures: Sequence[Tensor]) -> Read:
        """(N, 512), and (N, S, D) of FaceID Plus. Raises NoFaceError where one has none."""
        faces = list(self.faces(pictures))
        embeddings = normalize(torch.stack([face.embedding for face in faces]), dim=-1)
        seen = self.encoder.features([face.crop[None] for face in faces]) if self.encoder else ()
        return (embeddings, *seen)

    def faces(self, pictures: Sequence[Tensor]) -> Iterator[ReadFace]:
        """The largest of each, with the host's progress bar."""
        analysis, cut = require_analysis(self.analysis), FaceCut(self.side)
        progress = comfy.utils.ProgressBar(len(pictures))
        for number, picture in enumerate(pictures, 1):
            comfy.model_management.throw_exception_if_processing_interrupted()
            height, width = picture.shape[1:3]
            yield read_face(analysis, picture[0], 0, cut, PlaceInBatch(number, len(pictures), width, height))
            progress.update(1)

    @property
    def side(self) -> int:
        """Pixels of what is cut out."""
        return face_crop_size(pixel_format(self.encoder.clip_vision).size) if self.encoder else CROP

    def no_picture(self) -> Read:
        """Zeros, and what the encoder makes of no picture."""
        return (torch.zeros(1, FACE_WIDTH), *(self.encoder.no_picture() if self.encoder else ()))
