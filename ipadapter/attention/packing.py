"""K' and V' of every layer as one tensor, so that a call's rows are chosen, moved and weighed in one operation.

A packed tensor (R, N) has a row for each image tokens can be taken from: first those of the images (one, or one a
frame), then those of the unconditional. N holds, layer by layer, K' and V' (H · T · d each), every head's tokens
together as the attention reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from ..adapters.layer import LayerProjection
from ..backbones.backbone import CrossAttentionLayer
from ..strength.layers import LayerWeight
from ..strength.scaling import Linear, scale
from ..strength.strength import Scaling

ALIGNED = 8  # tokens
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


class Weighed(NamedTuple):
    """Image tokens, and what the values of each weigh."""

    tokens: Tensor  # (P, T, C)
    weights: Tensor  # (P, T, 1)


class Lengths(NamedTuple):
    """How many tokens of a row count, by its role; those behind only fill it up."""

    positive: int
    negative: int
    absent: int  # all: they are zeros


def common_length(positive: int, negative: int) -> int:
    """Tokens of every row: the more of the two where the others fit into them a whole number of times.

    Repeating every token of a sequence equally often leaves the attention over it as it is. Where that would take
    more, rows are filled up to a length that attention kernels take a mask of without a copy.
    """
    longest = max(positive, negative)
    return longest if longest % min(positive, negative) == 0 else -(-longest // ALIGNED) * ALIGNED


def fill_up(sequence: Weighed, length: int) -> Weighed:
    """Tokens and weights (P, T, …) at a length, repeated or followed by their mean, which leaves that as it is."""
    count = sequence.tokens.shape[1]
    if length % count == 0:
        return Weighed(*(each.repeat(1, length // count, 1) for each in sequence))
    mean = (sequence.tokens * sequence.weights).mean(dim=1, keepdim=True)  # (P, 1, C)
    more = Weighed(mean, torch.ones_like(sequence.weights[:, :1]))
    ends = (one.expand(-1, length - count, -1) for one in more)
    return Weighed(*(torch.cat([each, end], dim=1) for each, end in zip(sequence, ends, strict=True)))


def hide(lengths: Sequence[int], tokens: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of rows of so many tokens that count, (R, 1, 1, T): 0, and -inf behind them."""
    counts = torch.tensor(lengths, device=device).view(-1, 1, 1, 1)
    behind = torch.arange(tokens, device=device) >= counts  # (R, 1, 1, T)
    return torch.zeros(behind.shape, device=device, dtype=dtype).masked_fill_(behind, -torch.inf)


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
    lengths: Lengths | None = None  # where not all of them count

    @property
    def positives(self) -> int:
        return self.rows.shape[0] - 1


def side_by_side(positive: Weighed, negative: Weighed) -> Tokens:
    """Rows of the images (P, T, C) and of the unconditional (1, T', C) at one length."""
    counts = positive.tokens.shape[1], negative.tokens.shape[1]
    length = common_length(*counts)
    sides = zip(fill_up(positive, length), fill_up(negative, length), strict=True)
    whole = all(length % count == 0 for count in counts)
    rows, weights = (torch.cat(side) for side in sides)
    return Tokens(rows, weights, None if whole else Lengths(*counts, length))


def layer_rows(
    projection: LayerProjection, tokens: Tokens, heads: int, share: LayerWeight, weight: float, mode: Scaling
) -> tuple[Linear, Linear]:
    """K' and V' of one layer (paper eq. 4) as functions of the level, its own weight and λ multiplied in."""
    keys, values = projection.keys(tokens.rows, heads), projection.values(tokens.rows) * tokens.weights
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
