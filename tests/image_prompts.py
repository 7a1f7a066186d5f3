"""Random image prompts, as the small encoders would make them."""

from __future__ import annotations

from dataclasses import replace

import torch
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Part

from tests.adapters import EMBED, FACE, HIDDEN, PATCHES


def image_prompt(images: int = 1, seed: int = 3, negatives: int = 0) -> ImagePrompt:
    """Random features as the small encoder would give them."""
    generator = torch.Generator().manual_seed(seed)
    positive = random_features(images, generator)
    part = Part(positive, random_features(negatives, generator) if negatives else None)
    zero_pixels = random_features(1, torch.Generator().manual_seed(99))
    return ImagePrompt.known((part,), zero_pixels, "small test encoder")


def random_features(images: int, generator: torch.Generator) -> ImageFeatures:
    """What some encoder might make of some images."""
    embeds = torch.randn(images, EMBED, generator=generator)
    return ImageFeatures(embeds, torch.randn(images, PATCHES, HIDDEN, generator=generator))


def face_prompt(images: int = 1, seed: int = 3) -> ImagePrompt:
    """Random features of faces: as long as a recognition model's, and as the small encoder would make of the crops."""
    generator = torch.Generator().manual_seed(seed)
    seen = random_features(images, generator)
    face = torch.randn(images, FACE, generator=generator)
    zero = replace(random_features(1, torch.Generator().manual_seed(99)), face=torch.zeros(1, FACE))
    return ImagePrompt.known((Part(replace(seen, face=face)),), zero, "test faces and small test encoder")
