"""What an image says to the model: the features of one or more reference images, in one or more parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import torch
from torch import Tensor

from ..errors import IPAdapterError
from ..numbers import WEIGHT, require, require_all


class Feature(Enum):
    """What of an image an adapter reads."""

    IMAGE_EMBEDS = "image embedding"
    PENULTIMATE = "penultimate hidden states"
    FACE = "face embedding"
    CHARACTER = "hidden states of several layers"


@dataclass(frozen=True)
class ImageFeatures:
    """What encoders make of N images. Prompts of faces alone have an image embedding 0 wide.

    A tower without patch tokens has no penultimate states; only faces have a face embedding, which is a recognition
    model's output as it is, not normalised. Two encoders beside each other give the hidden states of several layers:
    of S patches those of the whole picture, late and early, and of its four quarters.
    """

    image_embeds: Tensor  # (N, E)
    penultimate: Tensor | None = None  # (N, S, D)
    face: Tensor | None = None  # (N, 512)
    character: Tensor | None = None  # (N, S + 3 S + 4 S, D)

    def get(self, feature: Feature) -> Tensor | None:
        """One of the outputs."""
        return self.outputs[feature]

    @property
    def outputs(self) -> dict[Feature, Tensor | None]:
        """All outputs."""
        return {
            Feature.IMAGE_EMBEDS: self.image_embeds,
            Feature.PENULTIMATE: self.penultimate,
            Feature.FACE: self.face,
            Feature.CHARACTER: self.character,
        }

    @property
    def widths(self) -> dict[Feature, tuple[int, ...]]:
        """The shape of an image's outputs, of those that are known."""
        there = {feature: tuple(output.shape[1:]) for feature, output in self.outputs.items() if output is not None}
        return {feature: shape for feature, shape in there.items() if 0 not in shape}

    def only(self, features: Collection[Feature]) -> ImageFeatures:
        """Some of the outputs; without the image embedding it is 0 wide."""
        held = {feature: output if feature in features else None for feature, output in self.outputs.items()}
        embeds = self.image_embeds if Feature.IMAGE_EMBEDS in features else self.image_embeds[..., :0]
        return ImageFeatures(embeds, held[Feature.PENULTIMATE], held[Feature.FACE], held[Feature.CHARACTER])

    def __len__(self) -> int:
        return len(self.image_embeds)

    def __getitem__(self, rows: slice) -> ImageFeatures:
        """Some of the images."""
        return merge_features([self], lambda tensors: tensors[0][rows])


def merge_features(features: Sequence[ImageFeatures], operation: Callable[[list[Tensor]], Tensor]) -> ImageFeatures:
    """Several batches as one: an operation on each output, over the batches that have it."""

    def merge(feature: Feature) -> Tensor | None:
        given = [output for one in features if (output := one.get(feature)) is not None]
        return operation(given) if given else None

    embeds = operation([one.image_embeds for one in features])
    return ImageFeatures(embeds, merge(Feature.PENULTIMATE), merge(Feature.FACE), merge(Feature.CHARACTER))


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

    @property
    def silent(self) -> bool:
        """Whether it says nothing: nothing of it weighs anything."""
        return not self.weight or (self.weights is not None and not any(self.weights))

    def __post_init__(self) -> None:
        require(self.weight, "the weight of a part of the image prompt", WEIGHT)
        require_all(self.weights or (), "the weight of an image", WEIGHT)


@dataclass(frozen=True, eq=False)
class NoImage:
    """What an image encoder makes where there is no image: passes of their own, made when they are first read.

    `zero_pixels` are the features of a tensor of zeros in place of normalised pixels (N = 1), which the unconditional
    of the Plus families is made of (reference `ip_adapter.py`, `get_image_embeds`); its face embedding and the states
    of several layers are zero. Of an UNKNOWN encoder only the embedding's width is known. `black` is the embedding of a
    black picture (1, E), which XLabs' adapters read in place of an image; prompts that an older version has kept have
    none.
    """

    make_zero_pixels: Callable[[], ImageFeatures]
    make_black: Callable[[], Tensor | None]

    @classmethod
    def known(cls, zero_pixels: ImageFeatures, black: Tensor | None = None) -> NoImage:
        """What is there already."""
        return cls(lambda: zero_pixels, lambda: black)

    @cached_property
    def zero_pixels(self) -> ImageFeatures:
        """The features of zeros in place of normalised pixels."""
        return self.make_zero_pixels()

    @cached_property
    def black(self) -> Tensor | None:
        """The embedding of a black picture."""
        return self.make_black()


@dataclass(frozen=True)
class ImagePrompt:
    """Parts that act beside each other, each with an attention of its own, and the encoder that made them."""

    parts: tuple[Part, ...]
    no_image: NoImage
    encoder: str

    @classmethod
    def known(
        cls, parts: tuple[Part, ...], zero_pixels: ImageFeatures, encoder: str, black: Tensor | None = None
    ) -> ImagePrompt:
        """A prompt of which everything is there."""
        return cls(parts, NoImage.known(zero_pixels, black), encoder)

    @property
    def zero_pixels(self) -> ImageFeatures:
        """What the encoder makes of zeros in place of normalised pixels. N = 1."""
        return self.no_image.zero_pixels

    @property
    def black(self) -> Tensor | None:
        """What the encoder makes of a black picture, (1, E)."""
        return self.no_image.black

    @property
    def nothing(self) -> ImageFeatures:
        """What adapters read in place of an image: zero embeddings, and the hidden states of zero pixels. N = 1."""
        return replace(self.zero_pixels, image_embeds=torch.zeros_like(self.zero_pixels.image_embeds))


UNKNOWN = "an encoder that its file does not name"


def join_prompts(first: ImagePrompt, second: ImagePrompt) -> ImagePrompt:
    """The parts of both. Raises IPAdapterError where they were made by two encoders."""
    refuse_two_encoders(first, second)
    return replace(first, parts=(*first.parts, *second.parts))


def refuse_two_encoders(*prompts: ImagePrompt) -> None:
    """Features of two encoders say nothing to each other."""
    if any(not same_encoder(prompts[0], prompt) for prompt in prompts[1:]):
        encoders = " and ".join(dict.fromkeys(prompt.encoder for prompt in prompts))
        raise IPAdapterError(
            f"the image prompts were made by two image encoders ({encoders}): encode all of them with the same one."
        )


def same_encoder(one: ImagePrompt, other: ImagePrompt) -> bool:
    """Whether two prompts' features can stand in one prompt: the same encoder, told by what it makes of nothing."""
    if one.encoder != other.encoder:
        return False
    return one.no_image is other.no_image or alike(one.zero_pixels.image_embeds, other.zero_pixels.image_embeds)


def alike(one: Tensor, other: Tensor, tolerance: float = 1e-2) -> bool:
    """Whether two encodings of the same pixels came from the same weights; precision may differ."""
    return one.shape == other.shape and bool(torch.allclose(one, other, rtol=tolerance, atol=tolerance))


FACE_WIDTH = 512  # of an ArcFace embedding
