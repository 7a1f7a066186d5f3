"""What an image says to the model: the features of one or more reference images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch import Tensor


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


@dataclass(frozen=True)
class ImagePrompt:
    """Features of the reference images and of what stands for "no image", and the encoder that made them.

    `zero_pixels` are the features of a tensor of zeros in place of normalised pixels, which the unconditional of
    the Plus families is made of (reference `ip_adapter.py`, `get_image_embeds`); `negative` replaces the
    unconditional where the user gave an image to move away from.
    """

    positive: ImageFeatures
    zero_pixels: ImageFeatures  # N = 1
    negative: ImageFeatures | None
    encoder: str
