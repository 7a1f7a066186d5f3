"""Pictures that an adapter makes while it is being trained, through the host's own sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import comfy.sample
import torch
from PIL import Image
from torch import Tensor

from ...adapters.family import Family
from ...adapters.features import Read
from ...adapters.module import IPAdapter
from ...adapters.provenance import Provenance
from ...backbones.backbone import Backbone
from ...backbones.flux import FLUX
from ...prompts.prompt import Feature, ImageFeatures, ImagePrompt, Part
from ...strength.strength import Strength
from ..adapters.adapter import Adapter, trained_adapter
from ..pictures import to_pil
from ..sampling.patching import apply_image_prompt
from .frozen import FrozenUNet
from .models import HostText

USUAL_GUIDANCE = 4.0
GUIDANCE: dict[Backbone, float] = {FLUX: 1.0}  # of models that are distilled to do without


@dataclass(frozen=True)
class Sampling:
    """How a picture is drawn. `guidance` None is what the model is usually sampled with."""

    steps: int
    seed: int = 0
    weight: float = 1.0  # of the image prompt
    guidance: float | None = None


@dataclass(frozen=True)
class Guides:
    """What a picture is drawn from; texts as the host's conditionings."""

    prompt: ImagePrompt
    positive: list[Any]
    negative: list[Any]


@contextmanager
def aside(frozen: FrozenUNet) -> Iterator[None]:
    """Something else than a step, which leaves the run its random numbers and its model on the device."""
    devices = [frozen.device] if frozen.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.inference_mode(), frozen.changes.resting():
            yield
    finally:
        frozen.load()


def draw_latents(frozen: FrozenUNet, adapter: Adapter, told: Guides, latent: Tensor, sampling: Sampling) -> Tensor:
    """A picture of the shape of an empty latent, (1, C, h, w), in the VAE's scale."""
    model = apply_image_prompt(frozen.patcher, adapter, told.prompt, Strength(sampling.weight))
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(sampling.seed))
    usual = GUIDANCE.get(adapter.spec.family.backbone, USUAL_GUIDANCE)
    guidance = usual if sampling.guidance is None else sampling.guidance
    settings = (sampling.steps, guidance, "euler", "normal", told.positive, told.negative, latent)
    made: Tensor = comfy.sample.sample(model, noise, *settings, disable_pbar=True, seed=sampling.seed)
    return made


def encoded_prompt(family: Family, features: Read, nothing: Read) -> ImagePrompt:
    """What the projection reads of one picture and of none, (1, E) or (1, S, D) each, as an image prompt."""
    positive, negative = (as_features(family, read) for read in (features, nothing))
    return ImagePrompt.known((Part(positive),), negative, "the run's own encoder", negative.image_embeds)


def as_features(family: Family, read: Read) -> ImageFeatures:
    """What the projection reads, as an encoder and InsightFace give it."""
    made = ImageFeatures(read[0].new_zeros(len(read[0]), 0))
    for feature, tensor in zip(family.reads, read, strict=True):
        made = WITH[feature](made, tensor)
    return made


WITH: dict[Feature, Callable[[ImageFeatures, Tensor], ImageFeatures]] = {
    Feature.IMAGE_EMBEDS: lambda made, embeds: replace(made, image_embeds=embeds),
    Feature.PENULTIMATE: lambda made, hidden: replace(made, image_embeds=hidden[:, 0], penultimate=hidden),
    Feature.FACE: lambda made, face: replace(made, face=face),
}


@dataclass(frozen=True)
class Text:
    """A text as a cache keeps it: context (L, C), and pooled (P,) where the model reads one."""

    context: Tensor
    pooled: Tensor | None


@dataclass(frozen=True)
class Sitter:
    """What one picture of a validation follows, as a cache keeps it, and the seed it is drawn with."""

    features: Read  # (1, E) or (1, S, D) each
    nothing: Read
    text: Text
    empty: Text
    seed: int


@dataclass(frozen=True)
class HostStudio:
    """Draws pictures with the weights as they are, and leaves the run as it was."""

    frozen: FrozenUNet
    told: HostText
    decode: Callable[[Tensor], Tensor]  # (1, C, h, w) in the VAE's scale to (1, H, W, 3)
    sampling: Sampling

    @contextmanager
    def drawing(self, weights: IPAdapter) -> Iterator[Callable[[Sitter], Tensor]]:
        """Until the block ends, subjects can be drawn, to (1, C, h, w)."""
        with aside(self.frozen):
            adapter = trained_adapter(weights, Provenance())
            yield lambda subject: self.draw(adapter, subject)

    def draw(self, adapter: Adapter, subject: Sitter) -> Tensor:
        """One picture, (1, C, h, w)."""
        positive, negative = (
            [self.told.conditioning(text.context, text.pooled)] for text in (subject.text, subject.empty)
        )
        told = Guides(encoded_prompt(adapter.spec.family, subject.features, subject.nothing), positive, negative)
        return draw_latents(
            self.frozen, adapter, told, self.told.empty_latent, replace(self.sampling, seed=subject.seed)
        )

    def picture(self, latents: Tensor) -> Image.Image:
        """What the VAE makes of them."""
        return to_pil(self.decode(latents))
