"""How the nodes of the old pack's first version read reference images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import comfy.clip_vision
import comfy.utils
import torch
from torch import Tensor

from ...images.noise import Noise, make_noise
from ...prompts.prompt import ImageFeatures, ImagePrompt, merge_features
from .reading import LegacyReading, read_images

NOISE_SEED = 0  # the same noise for every picture, as it was


@dataclass(frozen=True)
class WeighedImages:
    """A batch of references (N, H, W, C) and its weight."""

    images: Tensor
    weight: float


def noisy_copy(image: Tensor, noise: float) -> Tensor | None:
    """References shuffled and made noisy, or none for no noise."""
    return make_noise(image, Noise.SHUFFLE, noise, 0.0, NOISE_SEED, 0) if noise > 0 else None


def encode_weighed(
    clip_vision: comfy.clip_vision.ClipVisionModel, references: Sequence[WeighedImages], noise: float
) -> ImagePrompt:
    """References as one prompt, the encoder's features times the square of each weight.

    As the first version had it, all are cropped to the shape of the first.
    """
    height, width = references[0].images.shape[1:3]
    images = torch.cat([in_shape(one.images, height, width) for one in references])
    prompt = read_images(clip_vision, images, LegacyReading(), noisy_copy(images, noise))
    factors = torch.tensor([one.weight**2 for one in references for _ in one.images])
    parts = tuple(replace(part, positive=times_each(part.positive, factors)) for part in prompt.parts)
    return replace(prompt, parts=parts)


def in_shape(image: Tensor, height: int, width: int) -> Tensor:
    """References (N, H, W, C) of this height and width, what sticks out cut off on both sides."""
    if image.shape[1:3] == (height, width):
        return image[..., :3]
    pixels = image[..., :3].movedim(-1, 1)
    shaped: Tensor = comfy.utils.common_upscale(pixels, width, height, "bilinear", "center")
    return shaped.movedim(1, -1)


def times_each(features: ImageFeatures, factors: Tensor) -> ImageFeatures:
    """Every output of each image times a number of its own; factors (N)."""

    def scaled(tensors: Sequence[Tensor]) -> Tensor:
        return tensors[0] * factors.to(tensors[0]).view(-1, *(1 for _ in tensors[0].shape[1:]))

    return merge_features([features], scaled)
