"""Several image prompts as one. With f the encoder's features of an image and w its weight:

- concat: the tokens of all images one after another, their values V' scaled by w. Frames stand one after another in
  time. Parts with a region stay parts of their own and act in their place beside the rest.
- average: Σ w f / Σ w. Two prompts with the weights 1 - t and t are interpolated.
- add: Σ w f.
- subtract: the mean of w f over the first prompt's images, less its mean over those of all others.
- norm average: the mean of w f / ‖w f‖, the norm taken over the images for each feature by itself.
- min, max: the smallest and the largest w f, each feature by itself.

All but concat make one image of all, and work on every output of the encoder. Frame by frame they work on the first
frames, the second frames and so on; a prompt of one image is used for every frame.

The negative sides are combined in the same way, each image bringing the mean of its prompt's negative images. An image
whose prompt has none brings what an adapter reads in place of an image: a zero embedding, or the penultimate states of
zero pixels. Where no prompt has a negative, neither has the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import IPAdapterError
from .prompt import ImageFeatures, ImagePrompt, Order, Part, merge_features, refuse_two_encoders
from .weights import Weights, share_weights, unless_plain


class Combination(str, Enum):
    """How several image prompts become one."""

    CONCAT = "concat"
    AVERAGE = "average"
    ADD = "add"
    SUBTRACT = "subtract"
    NORM_AVERAGE = "norm average"
    MIN = "min"
    MAX = "max"


def combine_prompts(prompts: Sequence[ImagePrompt], how: Combination, weights: Weights | None = None) -> ImagePrompt:
    """One prompt of several. Raises IPAdapterError where they, or the weights, do not fit each other."""
    refuse_two_encoders(*prompts)
    nothing = prompts[0].nothing
    weighed = weigh_prompts(prompts, weights)
    parts = concatenate(flat(weighed), nothing) if how is Combination.CONCAT else (blend(weighed, how, nothing),)
    return replace(prompts[0], parts=parts)


def weigh_prompts(prompts: Sequence[ImagePrompt], weights: Weights | None) -> list[list[Part]]:
    """The parts of each prompt, the weights multiplied into those of their images."""
    shares = share_weights(weights, [sum(len(part.positive) for part in prompt.parts) for prompt in prompts])
    return [
        [weigh(part, share) for part, share in zip(prompt.parts, split(given, prompt.parts), strict=True)]
        for prompt, given in zip(prompts, shares, strict=True)
    ]


def split(weights: Weights, parts: Sequence[Part]) -> list[Weights]:
    """A prompt's weights, part by part."""
    counts = [len(part.positive) for part in parts]
    return [weights[end - count : end] for end, count in zip(accumulate(counts), counts, strict=True)]


def weigh(part: Part, weights: Weights) -> Part:
    """A part whose images weigh so much more."""
    return replace(
        part, weights=unless_plain(tuple(one * own for one, own in zip(weights, own_weights(part), strict=True)))
    )


def own_weights(part: Part) -> Weights:
    """What each image of a part weighs."""
    return part.weights or (1.0,) * len(part.positive)


def whole_weights(part: Part) -> Weights:
    """What each image of a part weighs, the part's own weight multiplied in."""
    return tuple(weight * part.weight for weight in own_weights(part))


def flat(parts: Sequence[Sequence[Part]]) -> list[Part]:
    """The parts of all prompts."""
    return [part for some in parts for part in some]


def concatenate(parts: Sequence[Part], nothing: ImageFeatures) -> tuple[Part, ...]:
    """One part of all that act everywhere, then those with a region."""
    everywhere = [part for part in parts if part.region is None]
    placed = [part for part in parts if part.region is not None]
    return (*([join_parts(everywhere, nothing)] if everywhere else []), *placed)


def join_parts(parts: Sequence[Part], nothing: ImageFeatures) -> Part:
    """The images of all parts one after another."""
    positives = [part.positive for part in parts]
    refuse_unlike(positives)
    weights = unless_plain(tuple(weight for part in parts for weight in whole_weights(part)))
    negative = join_features(negatives_of(parts, nothing)) if has_negative(parts) else None
    return Part(join_features(positives), negative, weights, common_order(parts))


def join_features(features: Sequence[ImageFeatures]) -> ImageFeatures:
    """Several batches one after another."""
    return merge_features(features, torch.cat)


def negatives_of(parts: Sequence[Part], nothing: ImageFeatures) -> list[ImageFeatures]:
    """Each part's negative images, or what stands for none, in the outputs of the parts' positive ones."""
    held = parts[0].positive.widths.keys()
    given = [(nothing if part.negative is None else part.negative).only(held) for part in parts]
    refuse_unlike(given)
    return given


def refuse_unlike(features: Sequence[ImageFeatures]) -> None:
    """Images can stand in one batch only where the same is known of each, in as much detail."""
    widths = [one.widths for one in features]
    if len({tuple(one) for one in widths}) > 1:
        held = "; ".join(dict.fromkeys(" and ".join(feature.value for feature in one) or "nothing" for one in widths))
        raise IPAdapterError(
            f"the image prompts do not hold the same of their images ({held}), as where one is another pack's file: "
            "encode all the images, the negative ones too, with Encode Image Prompt."
        )
    if any(one != widths[0] for one in widths[1:]):
        found = dict.fromkeys(" and ".join(" × ".join(map(str, each)) for each in one.values()) for one in widths)
        raise IPAdapterError(
            f"the image prompts hold their images in different detail ({'; '.join(found)} numbers): encode all the "
            "images, the negative ones too, with the same settings."
        )


def has_negative(parts: Sequence[Part]) -> bool:
    """Whether a part moves away from an image."""
    return any(part.negative is not None for part in parts)


def common_order(parts: Sequence[Part]) -> Order:
    """The parts' order. A single image has either. Raises IPAdapterError where both are met."""
    orders = {part.order for part in parts if len(part.positive) > 1}
    if len(orders) > 1:
        raise IPAdapterError(
            "the image prompts are of two orders, together and frame by frame: encode all of several images with the "
            "same order."
        )
    return orders.pop() if orders else Order.TOGETHER


@dataclass(frozen=True)
class Term:
    """One of the things that are combined: an image for each of F frames, where F is 1 without frames."""

    positive: ImageFeatures  # F images
    negative: ImageFeatures  # 1 image
    weights: Weights  # F


def blend(prompts: Sequence[Sequence[Part]], how: Combination, nothing: ImageFeatures) -> Part:
    """One image, or one a frame, of all."""
    parts = flat(prompts)
    refuse_regions(parts, how)
    refuse_unlike([part.positive for part in parts])
    negatives = (mean_image(one) for one in negatives_of(parts, nothing))
    order = common_order(parts)
    frames = frame_count(parts) if order is Order.FRAME_BY_FRAME else None
    terms = [[term for part in some for term in terms_of(part, frames, next(negatives))] for some in prompts]
    every, first = [term for some in terms for term in some], len(terms[0])
    weights = torch.tensor([term.weights for term in every])  # (K, F)
    positive = combine_features([term.positive for term in every], weights, first, how)
    negative = combine_features([repeat(term.negative, weights.shape[1]) for term in every], weights, first, how)
    return Part(positive, mean_image(negative) if has_negative(parts) else None, order=order)


def refuse_regions(parts: Sequence[Part], how: Combination) -> None:
    """An image that is made of several has no place of its own."""
    if any(part.region is not None for part in parts):
        raise IPAdapterError(
            f"an image prompt with regions cannot be combined by '{how.value}', which makes one image of all: set how "
            "to concat, or give prompts without regions."
        )


def frame_count(parts: Sequence[Part]) -> int:
    """How many frames the parts have; a single image is used for all. Raises IPAdapterError for two counts."""
    counts = sorted({len(part.positive) for part in parts} - {1})
    if len(counts) > 1:
        raise IPAdapterError(
            f"the image prompts have {' and '.join(map(str, counts))} frames: give each as many, or one for all."
        )
    return counts[0]


def terms_of(part: Part, frames: int | None, negative: ImageFeatures) -> list[Term]:
    """Every image of a part as a term, or all of its frames as one; `negative` is one image."""
    weights = whole_weights(part)
    if frames is None:
        return [Term(part.positive[i : i + 1], negative, (weight,)) for i, weight in enumerate(weights)]
    times = frames // len(weights)
    return [Term(repeat(part.positive, times), negative, weights * times)]


def repeat(features: ImageFeatures, times: int) -> ImageFeatures:
    """A batch, several times."""
    return join_features([features] * times)


def mean_image(features: ImageFeatures) -> ImageFeatures:
    """The mean of N images, as one."""
    return merge_features([features], lambda tensors: tensors[0].mean(dim=0, keepdim=True))


@dataclass(frozen=True)
class Stack:
    """One feature of K terms, the first of which are the first prompt's, and their weights."""

    features: Tensor  # (K, F, ...)
    weights: Tensor  # (K, F, 1, ...)
    first: int

    @property
    def weighed(self) -> Tensor:
        """w f."""
        return self.weights * self.features


def average(stack: Stack) -> Tensor:
    """Σ w f / Σ w. Raises IPAdapterError where the weights sum to nothing."""
    total = stack.weights.sum(dim=0)
    if bool((total.abs() < 1e-6).any()):
        raise IPAdapterError("weights sum to 0, so there is no average: give weights that do not, or set how to add.")
    return stack.weighed.sum(dim=0) / total


def subtract(stack: Stack) -> Tensor:
    """The first prompt's mean less that of the others."""
    weighed = stack.weighed
    return weighed[: stack.first].mean(dim=0) - weighed[stack.first :].mean(dim=0)


OPERATIONS: dict[Combination, Callable[[Stack], Tensor]] = {
    Combination.AVERAGE: average,
    Combination.ADD: lambda stack: stack.weighed.sum(dim=0),
    Combination.SUBTRACT: subtract,
    Combination.NORM_AVERAGE: lambda stack: normalize(stack.weighed, dim=0).mean(dim=0),
    Combination.MIN: lambda stack: stack.weighed.amin(dim=0),
    Combination.MAX: lambda stack: stack.weighed.amax(dim=0),
}


def combine_features(terms: Sequence[ImageFeatures], weights: Tensor, first: int, how: Combination) -> ImageFeatures:
    """Every output of K terms with weights (K, F): F images."""

    def combine(tensors: list[Tensor]) -> Tensor:
        stacked = torch.stack(tensors)  # (K, F, ...)
        scales = weights.to(stacked).view(*weights.shape, *[1] * (stacked.ndim - 2))
        return OPERATIONS[how](Stack(stacked, scales, first))

    return merge_features(terms, combine)
