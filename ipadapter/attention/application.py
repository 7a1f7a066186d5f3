"""A part of an image prompt through one adapter on one model: K' and V' of every layer, made once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..adapters.features import Read
from ..adapters.module import IPAdapter, one_after_another
from ..adapters.spec import AdapterSpec
from ..backbones.backbone import CrossAttentionLayer
from ..backbones.joint import Joining
from ..errors import IPAdapterError
from ..files.tensors import LARGEST_HALF
from ..prompts.prompt import Order, Part
from ..strength.layers import LayerWeights
from ..strength.scaling import Linear
from ..strength.strength import Scaling, Strength, multiply_frames
from .following import Following
from .packing import (
    Lengths,
    Packed,
    Source,
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
    packed: Source
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


@dataclass(frozen=True, eq=False)
class Making:
    """All that K' and V' of one part are made from: what the projection takes of its images, and of no image; `spec`
    is the adapter as it is used."""

    module: IPAdapter
    spec: AdapterSpec
    part: Part
    read: tuple[Read, Read]
    target: ApplyTarget

    def on(self, device: torch.device) -> Making:
        """With what it reads there."""
        images, none = (tuple(one.to(device) for one in read) for read in self.read)
        return replace(self, read=(images, none))

    def tokens(self, time: Read) -> Tokens:
        """Image tokens, at the noise level that `time` tells those that follow it."""
        return project_tokens(self.module, self.spec, self.part, self.read, self.target.narrow, time)

    def time(self, sigma: float) -> Read:
        """What tells a noise level."""
        return self.module.time(sigma, self.read[0][0])


def packed_at(making: Making, device: torch.device, sigma: float) -> Packed:
    """K' and V' of a noise level, made on a device."""
    there = making.on(device)
    time = there.time(sigma)
    return pack_part(making.module, making.part, there.tokens(time), making.target, time, making.target.dtype)


def follow_noise(app: Application, making: Making, models: tuple[Any, ...], device: torch.device) -> Application:
    """The application whose K' and V' follow the noise level: they are made in a run, on a device."""
    packed: Any = app.packed
    make = partial(packed_at, making.on(packed.still.device), device)
    followed = Following(make, packed.still.shape[1], packed.positives, packed.negatives, models)
    return replace(app, packed=followed)


def make_application(
    module: IPAdapter,
    part: Part,
    tokens: Tokens,
    target: ApplyTarget,
    mask: Tensor | None,
    store: torch.device,
    time: Read = (),
) -> Application:
    """K' and V' of one part, kept on `store`. Raises IPAdapterError for numbers that half precision does not have, and
    for a way of scaling that the adapter has none of."""
    frames, strength = frame_weights(part, target.strength), target.strength
    refuse_scaling(module.spec, strength.scaling)
    packed = pack_part(module, part, tokens, target, time)
    refuse_overflow(packed, loudest(strength, frames), module.spec.name)
    kept = packed.to(store, target.dtype if tokens.positives > 1 else torch.float32)
    layers = tuple(target.layers[index] for index in target.acting)
    about = (mask, frames, target.bound, target.fitting, lengths_of(tokens, target), module.spec.family.joining)
    return Application(module.spec.name, layers, tokens.rows.shape[1], kept, strength, *about)


def pack_part(
    module: IPAdapter,
    part: Part,
    tokens: Tokens,
    target: ApplyTarget,
    time: Read,
    dtype: torch.dtype = torch.float32,
) -> Packed:
    """K' and V' of every layer that acts. The level changes with curves and from frame to frame."""
    changes = bool(target.strength.curves) or frame_weights(part, target.strength) is not None
    layers = pack_layers(module, tokens, target, target.strength.weight * part.weight, time)
    return pack(layers, tokens.positives, changes, dtype)


def refuse_scaling(spec: AdapterSpec, scaling: Scaling) -> None:
    """Refuse to scale keys that are read beside the picture's own."""
    if reads_own(spec) and scaling is not Scaling.VALUES:
        raise IPAdapterError(
            f"'{spec.name}' reads image tokens and the picture's own keys in one attention, so that scaling "
            f"'{scaling.value}' has no meaning for it: set '{Scaling.VALUES.value}'."
        )


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
    module: IPAdapter,
    spec: AdapterSpec,
    part: Part,
    read: tuple[Read, Read],
    narrow: nn.Linear | None = None,
    time: Read = (),
) -> Tokens:
    """Image tokens: one row of all images' or a row a frame, and one for the unconditional, where that is another.

    `read` is what the module takes of the images, and of no image; `spec` is the adapter as it is used.
    """
    sides = project_sides(module, part.order, read, time)
    shown, *nothing = (narrowed(side, narrow, spec.face.narrowed) for side in sides)  # (P, T, C), (1, T', C)
    weights = token_weights(part, shown)
    if not nothing:
        return Tokens(shown, weights, negatives=0)
    pairs = Weighed(shown, weights), Weighed(nothing[0], mean_weights(weights, nothing[0]))
    return side_by_side(*pairs, repeats=part.negative is None or not reads_own(spec))


def project_sides(module: IPAdapter, order: Order, read: tuple[Read, Read], time: Read) -> list[Tensor]:
    """Image tokens (P, T, C), and the unconditional's (1, T', C), if there is one: at a noise level, where each is
    asked for anew, both in one pass if they are read of as much."""
    images, none = read
    if not (time and none and shape_of(images) == shape_of(none)):
        features = [(*side, *time) for side in read if side]
        orders = (order, Order.TOGETHER)
        return [project(module, each, side) for each, side in zip(orders, features, strict=False)]
    both = (torch.cat(pair) for pair in zip(images, none, strict=True))
    shown, nothing = module.image_proj(*both, *time).split([len(images[0]), len(none[0])])
    return [ARRANGE[order](shown), one_after_another(nothing)]


def shape_of(read: Read) -> list[torch.Size]:
    """What the projection takes, whatever the number of images."""
    return [one.shape[1:] for one in read]


def reads_own(spec: AdapterSpec) -> bool:
    """Whether the picture's own keys are read beside the tokens."""
    return spec.family.joining is not None and spec.family.joining.own


def project(module: IPAdapter, order: Order, features: Read) -> Tensor:
    """Image tokens (P, T, C): a row of all images', or a row a frame."""
    return ARRANGE[order](module.image_proj(*features))


ARRANGE: dict[Order, Callable[[Tensor], Tensor]] = {
    Order.TOGETHER: one_after_another,
    Order.FRAME_BY_FRAME: lambda tokens: tokens,
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


def pack_layers(
    module: IPAdapter, tokens: Tokens, target: ApplyTarget, weight: float, time: Read = ()
) -> Iterator[Linear]:
    """K' and V' of every layer that acts, one after another."""
    projections = module.layer_projections()
    inverts = any(target.weights[index].inverted for index in target.acting)
    for index in target.acting:
        layer, share = target.layers[index], target.weights[index]
        read = replace(tokens, rows=projections[index].at(tokens.rows, *time))
        pair = layer_rows(projections[index], read, layer.heads, share, weight, target.strength.scaling)
        yield from (arrange(linear, tokens.positives, share.inverted) for linear in pair) if inverts else pair


def lengths_of(tokens: Tokens, target: ApplyTarget) -> tuple[Lengths, ...] | None:
    """How many tokens count in each layer that acts; an inverted one has the images on the negative side."""
    if tokens.lengths is None:
        return None
    inverted = tokens.lengths._replace(negative=tokens.lengths.positive)
    return tuple(inverted if target.weights[index].inverted else tokens.lengths for index in target.acting)


def arrange(linear: Linear, positives: int, inverted: bool) -> Linear:
    """A layer's rows where some layer of the prompt is inverted."""
    return invert(linear, positives) if inverted else repeat_negative(linear, positives)
