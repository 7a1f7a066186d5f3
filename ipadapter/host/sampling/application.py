"""A part of an image prompt through one adapter on one model: K' and V' of every layer, made once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import comfy.model_management
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ...adapters.features import Read, features_for
from ...adapters.module import IPAdapter
from ...attention.packing import (
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
from ...backbones.backbone import CrossAttentionLayer
from ...errors import IPAdapterError
from ...files.tensors import LARGEST
from ...images.masks import refuse_mask
from ...prompts.prompt import ImagePrompt, Order, Part
from ...prompts.regions import masks_of
from ...strength.layers import LayerWeights
from ...strength.scaling import Linear
from ...strength.strength import Strength, multiply_frames
from ..adapters.adapter import Adapter


@dataclass(frozen=True)
class Application:
    """What one part of an applied image prompt adds to a model.

    `frames` are weights by picture. With `bound` it acts only where a conditioning carries that name. With `spare`
    there may be frames and masks for more pictures than are sampled, and masks for fewer, of which the last is held.
    """

    name: str
    layers: tuple[CrossAttentionLayer, ...]  # those in which it acts
    tokens: int
    packed: Packed
    strength: Strength
    mask: Tensor | None  # (M, H, W)
    frames: tuple[float, ...] | None = None
    bound: str | None = None
    spare: bool = False
    lengths: tuple[Lengths, ...] | None = None  # of each layer, where rows are filled up

    @property
    def by_frame(self) -> bool:
        """Whether pictures of one batch get different rows."""
        return self.packed.positives > 1 or self.frames is not None


@dataclass(frozen=True)
class Target:
    """Where and how an image prompt is to act: a model's layers, each with its weight, and the rest of its strength.

    `narrow` is what Kolors' UNet narrows its text with, where the adapter's tokens go through it too.
    """

    layers: tuple[CrossAttentionLayer, ...]
    weights: LayerWeights
    strength: Strength
    dtype: torch.dtype
    bound: str | None
    narrow: nn.Linear | None = None
    spare: bool = False

    @property
    def acting(self) -> list[int]:
        """Indices of the layers that weigh something."""
        return [index for index, weight in enumerate(self.weights) if weight.weight]


def make_applications(
    adapter: Adapter, prompt: ImagePrompt, target: Target, mask: Tensor | None
) -> tuple[Application, ...]:
    """Project a prompt, part by part. A part, a layer or a whole prompt of weight 0 is left out.

    Raises IPAdapterError where encoder, mask, layers or frames do not fit.
    """
    refuse_mask(mask)
    made = []
    for part, where in zip(prompt.parts, masks_of(prompt.parts, mask), strict=True):
        features = features_for(adapter.spec, prompt, part)
        if target.acting and target.strength.weight and not part.silent:
            tokens = project_tokens(adapter, part, *features, target.narrow)
            made.append(make_application(adapter, part, tokens, target, where))
    return tuple(made)


def narrowed(tokens: Tensor, narrow: nn.Linear | None, weight: float) -> Tensor:
    """Tokens as wide as the text context: (P, T, 4096) to (P, T, 2048) on Kolors."""
    if narrow is None:
        return tokens
    matrix, bias = (None if one is None else one.to(tokens) for one in (narrow.weight, narrow.bias))
    return weight * linear(tokens, matrix, bias)


def make_application(adapter: Adapter, part: Part, tokens: Tokens, target: Target, mask: Tensor | None) -> Application:
    """Project one part."""
    frames, strength = frame_weights(part, target.strength), target.strength
    packed = pack(
        pack_layers(adapter, tokens, target, strength.weight * part.weight),
        tokens.positives,
        changes=bool(strength.curves) or frames is not None,
    )
    refuse_overflow(packed, loudest(strength, frames), adapter.spec.name)
    stored = target.dtype if tokens.positives > 1 else torch.float32
    kept = packed.to(comfy.model_management.intermediate_device(), stored)
    layers = tuple(target.layers[index] for index in target.acting)
    about = (mask, frames, target.bound, target.spare, lengths_of(tokens, target))
    return Application(adapter.spec.name, layers, tokens.rows.shape[1], kept, strength, *about)


def loudest(strength: Strength, frames: tuple[float, ...] | None) -> float:
    """The highest level that curves and frames come to together."""
    curves = (max(abs(weight) for _, weight in curve.points) for curve in strength.curves)
    return math.prod(curves) * max(map(abs, frames or (1.0,)))


def refuse_overflow(packed: Packed, level: float, name: str) -> None:
    """Refuse keys and values that half precision does not have: the picture would be black."""
    peak = packed.still.abs().amax() + (0 if packed.scaled is None else level * packed.scaled.abs().amax())
    if not bool(peak <= LARGEST):  # false for NaN too
        raise IPAdapterError(
            f"the weights of the image prompt of '{name}' multiply to keys and values that half precision does not "
            "have, so the picture would be black: lower them."
        )


def project_tokens(
    adapter: Adapter, part: Part, positive: Read, negative: Read, narrow: nn.Linear | None = None
) -> Tokens:
    """Image tokens in float32: one row of all images' or a row a frame, and one for the unconditional."""
    comfy.model_management.load_models_gpu([adapter.patcher])
    module: IPAdapter = adapter.patcher.model
    device = adapter.patcher.load_device
    images, none = (tuple(tensor.to(device, torch.float32) for tensor in side) for side in (positive, negative))
    shown, nothing = (  # (P, T, C) and (1, T', C)
        narrowed(tokens, narrow, adapter.spec.face.narrowed)
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


def pack_layers(adapter: Adapter, tokens: Tokens, target: Target, weight: float) -> list[Linear]:
    """K' and V' of every layer that acts, one after another."""
    projections = adapter.patcher.model.layer_projections()
    inverts = any(target.weights[index].inverted for index in target.acting)
    parts: list[Linear] = []
    for index in target.acting:
        layer, share = target.layers[index], target.weights[index]
        pair = layer_rows(projections[index], tokens, layer.heads, share, weight, target.strength.scaling)
        parts += [arrange(linear, tokens.positives, share.inverted) for linear in pair] if inverts else pair
    return parts


def lengths_of(tokens: Tokens, target: Target) -> tuple[Lengths, ...] | None:
    """How many tokens count in each layer that acts; an inverted one has the images on the negative side."""
    if tokens.lengths is None:
        return None
    inverted = tokens.lengths._replace(negative=tokens.lengths.positive)
    return tuple(inverted if target.weights[index].inverted else tokens.lengths for index in target.acting)


def arrange(linear: Linear, positives: int, inverted: bool) -> Linear:
    """A layer's rows where some layer of the prompt is inverted."""
    return invert(linear, positives) if inverted else repeat_negative(linear, positives)
