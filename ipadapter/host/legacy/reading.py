"""How the old nodes read reference images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import comfy.clip_vision
from torch import Tensor

from ...images.references import sharpen
from ...images.tiles import Tiling, rectangle, tile_boxes
from ...prompts.combining import Combination, combine_prompts, join_features
from ...prompts.prompt import ImageFeatures, ImagePrompt, Order, Part, merge_features
from ...prompts.reading import Reading
from ..encoders.encoder import encode_references


@dataclass(frozen=True)
class LegacyReading:
    """What becomes of a batch of references. With `detail` n > 1 each is read in n x n pieces too."""

    combine: str = Combination.CONCAT.value
    order: Order = Order.TOGETHER
    detail: int = 1
    detail_weight: float = 1.0


def read_images(
    clip_vision: comfy.clip_vision.ClipVisionModel,
    image: Tensor,
    reading: LegacyReading,
    negative: Tensor | None = None,
    mask: Tensor | None = None,
) -> ImagePrompt:
    """References as one prompt. Frame by frame nothing is combined."""
    prompt = encode_references(clip_vision, image, Reading(detail=reading.detail), negative, mask)
    (part,) = prompt.parts
    features = enhance(part.positive, len(image), reading) if reading.detail > 1 else part.positive
    read = replace(prompt, parts=(Part(features, part.negative, order=reading.order),))
    return read if reading.order is Order.FRAME_BY_FRAME else combine_images((read,), reading.combine)


def enhance(features: ImageFeatures, images: int, reading: LegacyReading) -> ImageFeatures:
    """Whole images and their pieces: of one image both, one after the other; of several a mixture of each."""
    whole, pieces, ratio = features[:images], features[images:], reading.detail_weight
    if images == 1 and reading.order is Order.TOGETHER:
        return join_features([times(whole, ratio), pieces])
    return plus(times(whole, ratio), times(pieces, 1 - ratio))


def times(features: ImageFeatures, factor: float) -> ImageFeatures:
    """Every output times a number."""
    return merge_features([features], lambda tensors: tensors[0] * factor)


def plus(one: ImageFeatures, other: ImageFeatures) -> ImageFeatures:
    """The sum of the features of as many images."""
    return merge_features([one, other], lambda tensors: sum(tensors[1:], tensors[0]))


def combine_images(prompts: tuple[ImagePrompt, ...], how: str) -> ImagePrompt:
    """All images of some prompts as one image, or, for concat, one after another in one part."""
    images = [image for prompt in prompts for image in images_of(prompt)]
    if len(images) == 1 or how == Combination.CONCAT.value:
        return combine_prompts(prompts, Combination.CONCAT)
    return combine_prompts(images, Combination(how))


def images_of(prompt: ImagePrompt) -> list[ImagePrompt]:
    """A prompt for each image."""
    return [
        replace(prompt, parts=(Part(part.positive[index : index + 1], part.negative),))
        for part in prompt.parts
        for index in range(len(part.positive))
    ]


def cut_tiles(image: Tensor, sharpening: float) -> tuple[tuple[Tensor, Tensor], ...]:
    """Tiles of pictures (N, H, W, C), each (N, h, h, C) with a mask (1, H, W) of its place."""
    height, width = image.shape[1:3]
    pixels = image.movedim(-1, 1)
    if sharpening > 0:
        pixels = sharpen(pixels[:, :3], sharpening)
    boxes = tile_boxes(height, width, Tiling.IN_PLACE)
    return tuple((box.cut(pixels).movedim(1, -1), rectangle(box, height, width)) for box in boxes)
