"""How the old nodes read reference images.

To be replaced where the encoder reads tiles and detail and prompts can be combined by itself: `read_images` by
`encode_references` with a `Reading`, `combine_images` by `combine_prompts` of one prompt an image, `cut_tiles` by the
boxes of `tiles`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import comfy.clip_vision
import torch
from torch import Tensor

from ..errors import IPAdapterError
from ..image_prompt import ImageFeatures, ImagePrompt, Order, Part
from ..pixels import Fit
from .encoder import encode_image_prompt

LONGEST_TILES = 4
NEARLY_SQUARE = (0.75, 1.33)  # of height to width


@dataclass(frozen=True)
class OldReading:
    """What becomes of a batch of references."""

    combine: str = "concat"
    order: Order = Order.TOGETHER
    detail: int = 1
    detail_weight: float = 1.0


def read_images(
    clip_vision: comfy.clip_vision.ClipVisionModel,
    image: Tensor,
    reading: OldReading,
    negative: Tensor | None = None,
    mask: Tensor | None = None,
) -> ImagePrompt:
    """References as one prompt. Frame by frame nothing is combined."""
    if reading.detail > 1:
        raise IPAdapterError("enhance_tiles above 1 is not supported yet: set it to 1.")
    prompt = encode_image_prompt(clip_vision, image, Fit.CROP, negative, mask)
    if reading.order is Order.FRAME_BY_FRAME:
        return replace(prompt, parts=tuple(replace(part, order=reading.order) for part in prompt.parts))
    return combine_images((prompt,), reading.combine)


def combine_images(prompts: tuple[ImagePrompt, ...], how: str) -> ImagePrompt:
    """All images of some prompts as one image, or, for concat, one after another in one part."""
    parts = [part for prompt in prompts for part in prompt.parts]
    features = join([part.positive for part in parts])
    negatives = [part.negative for part in parts if part.negative is not None]
    negative = join(negatives) if negatives else None
    if how == "concat" or len(features) == 1:
        return replace(prompts[0], parts=(Part(features, negative),))
    hidden = features.penultimate
    combined = ImageFeatures(
        COMBINATIONS[how](features.image_embeds), None if hidden is None else COMBINATIONS[how](hidden)
    )
    return replace(prompts[0], parts=(Part(combined, None if negative is None else negative[:1]),))


COMBINATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda x: x.sum(dim=0, keepdim=True),
    "subtract": lambda x: x[:1] - x[1:].mean(dim=0, keepdim=True),
    "average": lambda x: x.mean(dim=0, keepdim=True),
    "norm average": lambda x: torch.nn.functional.normalize(x, dim=0).mean(dim=0, keepdim=True),
    "max": lambda x: x.amax(dim=0, keepdim=True),
    "min": lambda x: x.amin(dim=0, keepdim=True),
}


def times(features: ImageFeatures, factor: float) -> ImageFeatures:
    """Both features times a number."""
    hidden = features.penultimate
    return ImageFeatures(features.image_embeds * factor, None if hidden is None else hidden * factor)


def join(features: list[ImageFeatures]) -> ImageFeatures:
    """Several batches as one."""
    hidden = [one.penultimate for one in features if one.penultimate is not None]
    return ImageFeatures(torch.cat([one.image_embeds for one in features]), torch.cat(hidden) if hidden else None)


@dataclass(frozen=True)
class Box:
    """A square of a picture, in pixels."""

    top: int
    left: int
    side: int

    def cut(self, image: Tensor) -> Tensor:
        """That part of pictures (N, H, W, C)."""
        return image[:, self.top : self.top + self.side, self.left : self.left + self.side]

    def mask(self, height: int, width: int) -> Tensor:
        """1 within the box, (1, H, W)."""
        mask = torch.zeros(1, height, width)
        mask[:, self.top : self.top + self.side, self.left : self.left + self.side] = 1.0
        return mask


def cut_tiles(image: Tensor, sharpening: float) -> tuple[tuple[Tensor, Tensor], ...]:
    """Tiles of pictures (N, H, W, C), each (N, h, h, C) with a mask (1, H, W) of its place."""
    if sharpening:
        raise IPAdapterError("sharpening is not supported yet: set it to 0.")
    height, width = image.shape[1:3]
    return tuple((box.cut(image), box.mask(height, width)) for box in tile_boxes(height, width))


def tile_boxes(height: int, width: int) -> tuple[Box, ...]:
    """Two by two of a picture that is nearly square, else up to four along its long side."""
    low, high = NEARLY_SQUARE
    side = -(-max(height, width) // 2) if low < height / width < high else min(height, width)
    places = product(starts(height, side), starts(width, side))
    return tuple(Box(top, left, side) for top, left in places)


def starts(length: int, side: int) -> tuple[int, ...]:
    """Where pieces of a line begin that cover it with even overlap."""
    count = -(-length // side)
    return tuple(round(index * (length - side) / max(1, count - 1)) for index in range(count))
