"""What an image says to the model: the features of one or more reference images, in one or more parts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from .errors import IPAdapterError


class Feature(Enum):
    """Which output of the image encoder an adapter reads."""

    IMAGE_EMBEDS = "image embedding"
    PENULTIMATE = "penultimate hidden states"


@dataclass(frozen=True)
class ImageFeatures:
    """Encoder outputs of N images. A tower without patch tokens has no penultimate states."""

    image_embeds: Tensor  # (N, E)
    penultimate: Tensor | None  # (N, S, D)

    def get(self, feature: Feature) -> Tensor | None:
        """One of the two outputs."""
        return self.image_embeds if feature is Feature.IMAGE_EMBEDS else self.penultimate

    def __len__(self) -> int:
        return len(self.image_embeds)

    def __getitem__(self, rows: slice) -> ImageFeatures:
        """Some of the images."""
        return ImageFeatures(self.image_embeds[rows], None if self.penultimate is None else self.penultimate[rows])


class Order(str, Enum):
    """Whom the images of a part speak to."""

    TOGETHER = "together"  # all to every picture, their tokens one after another
    FRAME_BY_FRAME = "frame by frame"  # the first to the first picture, the second to the second ...


class Overlap(str, Enum):
    """What a region does where others lie over it."""

    SHARE = "share"  # masks that add up to more than 1 are scaled down to 1
    ADD = "add"  # each acts in full


@dataclass(frozen=True)
class Region:
    """Where in the output a part acts."""

    mask: Tensor  # (M, H, W) in 0 … 1, M = 1 or the number of pictures
    overlap: Overlap = Overlap.SHARE


@dataclass(frozen=True)
class Part:
    """Reference images that are attended to together (one softmax over all their tokens).

    `weights` scale the values of each image's tokens, `weight` those of the whole part; `negative` replaces the
    unconditional where the user gave an image to move away from.
    """

    positive: ImageFeatures  # N images
    negative: ImageFeatures | None = None
    weights: tuple[float, ...] | None = None  # one an image
    order: Order = Order.TOGETHER
    weight: float = 1.0
    region: Region | None = None


@dataclass(frozen=True)
class ImagePrompt:
    """Parts that act beside each other, each with an attention of its own, and the encoder that made them.

    `zero_pixels` are the features of a tensor of zeros in place of normalised pixels, which the unconditional of
    the Plus families is made of (reference `ip_adapter.py`, `get_image_embeds`).
    """

    parts: tuple[Part, ...]
    zero_pixels: ImageFeatures  # N = 1
    encoder: str


def join_prompts(first: ImagePrompt, second: ImagePrompt) -> ImagePrompt:
    """The parts of both. Raises IPAdapterError where they were made by two encoders."""
    refuse_two_encoders(first, second)
    return ImagePrompt((*first.parts, *second.parts), first.zero_pixels, first.encoder)


def refuse_two_encoders(*prompts: ImagePrompt) -> None:
    """Features of two encoders say nothing to each other."""
    if any(not same_encoder(prompts[0], prompt) for prompt in prompts[1:]):
        encoders = " and ".join(dict.fromkeys(prompt.encoder for prompt in prompts))
        raise IPAdapterError(
            f"the image prompts were made by two image encoders ({encoders}): encode all of them with the same one."
        )


def same_encoder(one: ImagePrompt, other: ImagePrompt) -> bool:
    """Whether two prompts' features can stand in one prompt: the same encoder, told by what it makes of nothing."""
    mine, theirs = one.zero_pixels, other.zero_pixels
    return one.encoder == other.encoder and alike(mine.image_embeds, theirs.image_embeds)


def alike(one: Tensor, other: Tensor, tolerance: float = 1e-2) -> bool:
    """Whether two encodings of the same pixels came from the same weights; precision may differ."""
    return one.shape == other.shape and bool(torch.allclose(one, other, rtol=tolerance, atol=tolerance))
