"""Pictures to face prompts: the embedding of one face of each, and an image encoder's features of its crop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ...faces.reading import (
    CROP,
    FaceAnalysis,
    FaceCrop,
    FaceCut,
    PlaceInBatch,
    ReadFace,
    face_crop_size,
    read_face,
    require_analysis,
)
from ...images.pixels import refuse_unusable
from ...prompts.prompt import FACE_WIDTH, ImageFeatures, ImagePrompt, NoImage, Order, Part
from ...prompts.reading import Reading
from ...prompts.weights import Weights, share_weights, unless_plain
from ..encoders.encoder import encode_references, pixel_format


@dataclass(frozen=True)
class FacePrompt:
    """A prompt, and the faces it was made of."""

    prompt: ImagePrompt
    crops: Tensor  # (N, S, S, 3) in 0 … 1


@dataclass(frozen=True)
class FaceReading:
    """Everything but the pictures: which face of each, by size, how it is cut out, and what becomes of several."""

    rank: int = 0
    crop: FaceCrop = FaceCrop.ALIGNED
    order: Order = Order.TOGETHER
    weights: Weights | None = None


PLAIN_FACES = FaceReading()


def encode_faces(
    analysis: object,
    image: Tensor,
    clip_vision: comfy.clip_vision.ClipVisionModel | None = None,
    reading: FaceReading = PLAIN_FACES,
    negative: Tensor | None = None,
) -> FacePrompt:
    """A face prompt of reference images (N, H, W, C), of one face in each.

    Without an image encoder it holds face embeddings alone. `negative` is a picture to move away from in place of
    none, where the encoder is read; of a face there is no such thing. Raises IPAdapterError where a picture has no
    such face.
    """
    found = require_analysis(analysis)
    refuse_unusable(image)
    (shares,) = share_weights(reading.weights, [len(image)])
    side = CROP if clip_vision is None else face_crop_size(pixel_format(clip_vision).size)
    faces = list(read_faces(found, image, reading.rank, FaceCut(side, reading.crop)))
    crops = torch.stack([face.crop for face in faces])
    seen = unseen(len(crops)) if clip_vision is None else encode_references(clip_vision, crops, Reading(), negative)
    store = comfy.model_management.intermediate_device()
    embeddings = torch.stack([face.embedding for face in faces]).to(store)  # (N, 512)
    (part,), nobody = seen.parts, torch.zeros(1, FACE_WIDTH, device=store)
    away = None if part.negative is None else replace(part.negative, face=nobody.expand(len(part.negative), -1))
    faced = Part(replace(part.positive, face=embeddings), away, unless_plain(shares), reading.order)
    encoder = " and ".join(name for name in (pack_name(found), seen.encoder) if name)
    prompt = ImagePrompt((faced,), beside_nobody(seen.no_image, nobody), encoder)
    return FacePrompt(prompt, crops.to(store))


def beside_nobody(seen: NoImage, nobody: Tensor) -> NoImage:
    """What an image encoder makes of no image, with the embedding of no face (1, 512) beside it."""
    return NoImage(lambda: replace(seen.zero_pixels, face=nobody), lambda: seen.black)


def read_faces(analysis: FaceAnalysis, image: Tensor, rank: int, cut: FaceCut) -> Iterator[ReadFace]:
    """One face of each picture, with the host's progress bar."""
    progress = comfy.utils.ProgressBar(len(image))
    height, width = image.shape[1:3]
    for index, picture in enumerate(image):
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield read_face(analysis, picture, rank, cut, PlaceInBatch(index + 1, len(image), width, height))
        progress.update(1)


def unseen(images: int) -> ImagePrompt:
    """Without an image encoder there are no features but the faces': embeddings 0 wide."""
    store = comfy.model_management.intermediate_device()
    blank, one = (ImageFeatures(torch.zeros(count, 0, device=store)) for count in (images, 1))
    return ImagePrompt.known((Part(blank),), one, "")


def pack_name(analysis: FaceAnalysis) -> str:
    """InsightFace with the pack it was loaded from, where it says so."""
    directory = getattr(analysis, "model_dir", None)
    return f"InsightFace {Path(directory).name}" if directory else "InsightFace"
