"""K' and V' of every layer as one tensor, so that a call's rows are chosen, moved and weighed in one operation.

A packed tensor (R, N) has a row for each image tokens can be taken from: first those of the images (one, or one a
frame), then those of the unconditional. N holds, layer by layer, K' and V' (H · T · d each), every head's tokens
together as the attention reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from .adapter import LayerProjection
from .layer_weights import LayerWeight
from .layers import CrossAttentionLayer
from .scaling import Linear, scale
from .strength import Scaling

POSITIVE, NEGATIVE, ABSENT = 0, 1, 2  # what a conditioning's rows get: the image, the unconditional, nothing


@dataclass(frozen=True)
class Packed:
    """K' and V' of some layers: `still` + level · `scaled`. Where the level never changes `scaled` is None."""

    still: Tensor  # (R, N)
    scaled: Tensor | None  # (R, N)
    positives: int  # rows of images, 1 or one a frame
    negatives: int  # rows of the unconditional, 1 or as many

    def row(self, role: int, frame: int) -> int:
        """Where the row of a role and a picture is; past the last frame the last one stays."""
        if role == ABSENT:
            return self.positives + self.negatives
        count = (self.positives, self.negatives)[role]
        return role * self.positives + min(frame, count - 1)

    def to(self, device: torch.device, dtype: torch.dtype) -> Packed:
        """Moved and cast."""
        moved = [None if tensor is None else tensor.to(device, dtype) for tensor in (self.still, self.scaled)]
        assert moved[0] is not None
        return Packed(moved[0], moved[1], self.positives, self.negatives)


def pack(parts: Sequence[Linear], positives: int, changes: bool) -> Packed:
    """Packed rows of K', V', K', V' … of the layers, each (R, H · T · d). `changes`: whether the level ever does."""
    still, scaled = (torch.cat(tensors, dim=1) for tensors in zip(*parts, strict=True))
    negatives = still.shape[0] - positives
    if changes:
        return Packed(still, scaled, positives, negatives)
    return Packed(still + scaled, None, positives, negatives)


def with_nothing(rows: Tensor) -> Tensor:
    """One more row of zeros: K' = V' = 0 adds nothing to the text attention."""
    return pad(rows, (0, 0, 0, 1))


def common_length(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Token sequences (P, T, C) and (1, T', C) at one length.

    Repeating every token of a sequence equally often leaves the attention over it as it is.
    """
    length = math.lcm(positive.shape[1], negative.shape[1])
    return tuple(tokens.repeat(1, length // tokens.shape[1], 1) for tokens in (positive, negative))  # type: ignore[return-value]


def pack_heads(x: Tensor, heads: int) -> Tensor:
    """(R, T, H · d) to (R, H · T · d), each head's tokens together."""
    return rearrange(x, "r t (h d) -> r (h t d)", h=heads)


def unpack(rows: Tensor, layers: Sequence[CrossAttentionLayer], tokens: int) -> Iterator[tuple[Tensor, Tensor]]:
    """K' and V' of each layer, (R, H, T, d), as views of the packed rows."""
    sizes = [tokens * layer.channels for layer in layers for _ in range(2)]
    pieces = iter(rows.split(sizes, dim=1))
    for layer in layers:
        shape = (layer.heads, -1, layer.channels // layer.heads)
        yield next(pieces).unflatten(1, shape), next(pieces).unflatten(1, shape)


@dataclass(frozen=True)
class Tokens:
    """Image tokens of a part at one length, and what the values of each weigh."""

    rows: Tensor  # (P + 1, T, C): the images', or each frame's, then the unconditional's
    weights: Tensor  # (P + 1, T, 1)

    @property
    def positives(self) -> int:
        return self.rows.shape[0] - 1


def layer_rows(
    projection: LayerProjection, tokens: Tokens, heads: int, share: LayerWeight, weight: float, mode: Scaling
) -> tuple[Linear, Linear]:
    """K' and V' of one layer (paper eq. 4) as functions of the level, its own weight and λ multiplied in."""
    keys, values = projection.to_k_ip(tokens.rows), projection.to_v_ip(tokens.rows) * tokens.weights
    pair = scale(mode, keys, values)
    keys_of, values_of = (Linear(one.still, one.scaled * (weight * share.weight)) for one in pair)
    return pack_linear(keys_of, heads), pack_linear(values_of, heads)


def pack_linear(linear: Linear, heads: int) -> Linear:
    """Both parts with heads apart, (R, H · T · d)."""
    return Linear(pack_heads(linear.still, heads), pack_heads(linear.scaled, heads))


def invert(linear: Linear, positives: int) -> Linear:
    """The image for the negative side and nothing for the positive: (P + 1, N) to (2 P, N)."""
    return Linear(*(torch.cat([torch.zeros_like(rows[:positives]), rows[:positives]]) for rows in linear))


def repeat_negative(linear: Linear, positives: int) -> Linear:
    """The unconditional's row once a frame, beside layers that have one a frame: (P + 1, N) to (2 P, N)."""
    return Linear(*(torch.cat([rows[:positives], rows[positives:].expand(positives, -1)]) for rows in linear))
