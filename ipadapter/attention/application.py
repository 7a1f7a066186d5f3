"""A part of an image prompt through one adapter on one model: K' and V' of every layer, made once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..adapters.features import Read
from ..adapters.module import IPAdapter
from ..adapters.spec import AdapterSpec
from ..backbones.backbone import CrossAttentionLayer
from ..backbones.joint import Joining
from ..errors import IPAdapterError
from ..files.tensors import LARGEST_HALF
from ..prompts.prompt import Order, Part
from ..strength.layers import LayerWeights
from ..strength.scaling import Linear
from ..strength.strength import Strength, multiply_frames
from .packing import (
    Lengths,
    Packed,
    Tokens,
    Weighed,
    invert,
    layer_rows,
    pack,
    repeat_negative,
    side_by_side,
)


class Fitting(ABC):
    """How frames and masks of a prompt are dealt out to the pictures that are sampled."""

    @abstractmethod
    def refuse(self, app: Application, pictures: int) -> None:
        """Before a run. Raises IPAdapterError where there are too many, or too few."""

    @abstractmethod
    def masks_for(self, masks: int, frames: Sequence[int]) -> list[int]:
        """Which of a batch of masks each picture of a call has."""


@dataclass(frozen=True)
class Exact(Fitting):
    """A batch of masks has one for each picture; frames are not more than pictures, and the last one is held."""

    def refuse(self, app: Application, pictures: int) -> None:
        frames = max(app.packed.positives, len(app.frames or ()))
        if frames > pictures:
            raise IPAdapterError(
                f"the image prompt of '{app.name}' has {frames} frames, but {pictures} picture(s) are sampled: sample "
                "as many, or give fewer frames (the last one is held)."
            )
        if app.mask is not None and app.mask.shape[0] not in (1, pictures):
            raise IPAdapterError(
                f"the mask of '{app.name}' is a batch of {app.mask.shape[0]}, but {pictures} picture(s) are sampled: "
                f"give one mask, or {pictures}."
            )

    def masks_for(self, masks: int, frames: Sequence[int]) -> list[int]:
        if max(frames) >= masks:
            raise IPAdapterError(f"a batch of {masks} masks met {len(frames)} pictures in one call of the model.")
        return [*frames]


EXACT = Exact()


@dataclass(frozen=True)
class Application:
    """What one part of an applied image prompt adds to a model.

    `frames` are weights by picture. With `bound` it acts only where a conditioning carries that name.
    """

    name: str
    layers: tuple[CrossAttentionLayer, ...]  # those in which it acts
    tokens: int
    packed: Packed
    strength: Strength
    mask: Tensor | None  # (M, H, W)
    frames: tuple[float, ...] | None = None
    bound: str | None = None
    fitting: Fitting = EXACT
    lengths: tuple[Lengths, ...] | None = None  # of each layer, where rows are filled up
    joining: Joining | None = None  # how it comes into a joint attention

    @property
    def by_frame(self) -> bool:
        """Whether pictures of one batch get different rows."""
        return self.packed.positives > 1 or self.frames is not None


@dataclass(frozen=True)
class ApplyTarget:
    """Where and how an image prompt is to act: a model's layers, each with its weight, and the rest of its strength.

    `narrow` is what Kolors' UNet narrows its text with, where the adapter's tokens go through it too.
    """

    layers: tuple[CrossAttentionLayer, ...]
    weights: LayerWeights
    strength: Strength
    dtype: torch.dtype
    bound: str | None
    narrow: nn.Linear | None = None
    fitting: Fitting = EXACT

    @property
    def acting(self) -> list[int]:
        """Indices of the layers that weigh something."""
        return [index for index, weight in enumerate(self.weights) if weight.weight]


def narrowed(tokens: Tensor, narrow: nn.Linear | None, weight: float) -> Tensor:
    """Tokens as wide as the text context: (P, T, 4096) to (P, T, 2048) on Kolors."""
    if narrow is None:
        return tokens
    matrix, bias = (None if one is None else one.to(tokens) for one in (narrow.weight, narrow.bias))
    return weight * linear(tokens, matrix, bias)


def make_application(
    module: IPAdapter, part: Part, tokens: Tokens, target: ApplyTarget, mask: Tensor | None, store: torch.device
) -> Application:
    """K' and V' of one part, kept on `store`. Raises IPAdapterError for numbers that half precision does not have."""
    frames, strength = frame_weights(part, target.strength), target.strength
    packed = pack(
        pack_layers(module, tokens, target, strength.weight * part.weight),
        tokens.positives,
        changes=bool(strength.curves) or frames is not None,
    )
    refuse_overflow(packed, loudest(strength, frames), module.spec.name)
    kept = packed.to(store, target.dtype if tokens.positives > 1 else torch.float32)
    layers = tuple(target.layers[index] for index in target.acting)
    about = (mask, frames, target.bound, target.fitting, lengths_of(tokens, target), module.spec.family.joining)
    return Application(module.spec.name, layers, tokens.rows.shape[1], kept, strength, *about)


def loudest(strength: Strength, frames: tuple[float, ...] | None) -> float:
    """The highest level that curves and frames come to together."""
    curves = (max(abs(weight) for _, weight in curve.points) for curve in strength.curves)
    return math.prod(curves) * max(map(abs, frames or (1.0,)))


def refuse_overflow(packed: Packed, level: float, name: str) -> None:
    """Refuse keys and values that half precision does not have: the picture would be black."""
    peak = packed.still.abs().amax() + (0 if packed.scaled is None else level * packed.scaled.abs().amax())
    if not bool(peak <= LARGEST_HALF):  # false for NaN too
        raise IPAdapterError(
            f"the weights of the image prompt of '{name}' multiply to keys and values that half precision does not "
            "have, so the picture would be black: lower them."
        )


def project_tokens(
    module: IPAdapter, spec: AdapterSpec, part: Part, read: tuple[Read, Read], narrow: nn.Linear | None = None
) -> Tokens:
    """Image tokens: one row of all images' or a row a frame, and one for the unconditional.

    `read` is what the module takes of the images, and of no image; `spec` is the adapter as it is used.
    """
    images, none = read
    shown, nothing = (  # (P, T, C) and (1, T', C)
        narrowed(tokens, narrow, spec.face.narrowed)
        for tokens in (PROJECT[part.order](module, images), module.tokens(*none))
    )
    weights = token_weights(part, shown)
    return side_by_side(Weighed(shown, weights), Weighed(nothing, mean_weights(weights, nothing)))


PROJECT = {
    Order.TOGETHER: lambda module, features: module.tokens(*features),
    Order.FRAME_BY_FRAME: lambda module, features: module.image_proj(*features),
}


def token_weights(part: Part, tokens: Tensor) -> Tensor:
    """What the values of tokens (P, T, C) weigh, (P, T, 1): each its image's weight."""
    if part.weights is None or part.order is Order.FRAME_BY_FRAME:
        return tokens.new_ones(*tokens.shape[:2], 1)
    each = tokens.new_tensor(part.weights).repeat_interleave(tokens.shape[1] // len(part.weights))
    return each.view(1, -1, 1)


def mean_weights(weights: Tensor, tokens: Tensor) -> Tensor:
    """What those of the unconditional (1, T', C) weigh, (1, T', 1): the images' mean."""
    return weights[:1].mean().expand(1, tokens.shape[1], 1)


def frame_weights(part: Part, strength: Strength) -> tuple[float, ...] | None:
    """Weights by picture, of the strength and of a part's frames. Raises IPAdapterError for two lengths."""
    if part.order is Order.TOGETHER or part.weights is None:
        return strength.frames
    return multiply_frames(strength.frames, part.weights)


def pack_layers(module: IPAdapter, tokens: Tokens, target: ApplyTarget, weight: float) -> list[Linear]:
    """K' and V' of every layer that acts, one after another."""
    projections = module.layer_projections()
    inverts = any(target.weights[index].inverted for index in target.acting)
    parts: list[Linear] = []
    for index in target.acting:
        layer, share = target.layers[index], target.weights[index]
        pair = layer_rows(projections[index], tokens, layer.heads, share, weight, target.strength.scaling)
        parts += [arrange(linear, tokens.positives, share.inverted) for linear in pair] if inverts else pair
    return parts


def lengths_of(tokens: Tokens, target: ApplyTarget) -> tuple[Lengths, ...] | None:
    """How many tokens count in each layer that acts; an inverted one has the images on the negative side."""
    if tokens.lengths is None:
        return None
    inverted = tokens.lengths._replace(negative=tokens.lengths.positive)
    return tuple(inverted if target.weights[index].inverted else tokens.lengths for index in target.acting)


def arrange(linear: Linear, positives: int, inverted: bool) -> Linear:
    """A layer's rows where some layer of the prompt is inverted."""
    return invert(linear, positives) if inverted else repeat_negative(linear, positives)
