"""K' and V' of every layer as one tensor, so that a call's rows are chosen, moved and weighed in one operation.

A packed tensor (R, N) has a row for each image tokens can be taken from: first those of the images (one, or one a
frame), then those of the unconditional. N holds, layer by layer, K' and V' (H · T · d each), every head's tokens
together as the attention reads them, and behind them what `OwnKeys` are made of where a layer has those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from ..adapters.layer import LayerProjection
from ..backbones.backbone import CrossAttentionLayer
from ..strength.layers import LayerWeight
from ..strength.scaling import Linear, scale
from ..strength.strength import Scaling
from .decoupled import OwnKeys
from .rows import Dial, Rows, StillAndScaled

ALIGNED = 8  # tokens, or numbers
POSITIVE, NEGATIVE, ABSENT = 0, 1, 2  # what a conditioning's rows get: the image, the unconditional, nothing


@dataclass(frozen=True)
class ChosenRows:
    """Which packed rows a call's are (G), what each weighs besides (G, 1), and for how many pictures each stands."""

    rows: Tensor
    column: Tensor | None
    pictures: int


class Placed(Protocol):
    """K' and V' where calls are made."""

    def take(self, chosen: ChosenRows) -> Rows:
        """Rows for calls."""


class Source(Protocol):
    """What an application's K' and V' come from."""

    @property
    def positives(self) -> int:
        """Rows of images, 1 or one a frame."""

    @property
    def negatives(self) -> int:
        """Rows of the unconditional, 1 or as many."""

    @property
    def models(self) -> tuple[Any, ...]:
        """What the host loads for a run, because K' and V' are made in it."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Placed:
        """Moved and cast."""


@dataclass(frozen=True)
class Packed:
    """K' and V' of some layers: `still` + level · `scaled`. Where the level never changes `scaled` is None."""

    still: Tensor  # (R, N)
    scaled: Tensor | None  # (R, N)
    positives: int  # rows of images, 1 or one a frame
    negatives: int  # rows of the unconditional, 1 or as many; 0 where the image stands on both sides

    models = ()

    def to(self, device: torch.device, dtype: torch.dtype) -> Packed:
        """Moved and cast."""
        moved = [None if tensor is None else tensor.to(device, dtype) for tensor in (self.still, self.scaled)]
        assert moved[0] is not None
        return Packed(moved[0], moved[1], self.positives, self.negatives)

    def take(self, chosen: ChosenRows) -> Rows:
        """Rows that are the same at every noise level."""
        return Dial(*self.choose(chosen), chosen.pictures)

    def choose(self, chosen: ChosenRows) -> StillAndScaled:
        """Both parts of some rows, (G, N)."""
        still, scaled = (
            None if rows is None else with_nothing(rows)[chosen.rows] for rows in (self.still, self.scaled)
        )
        assert still is not None
        return still, scaled if scaled is None or chosen.column is None else scaled * chosen.column


def row_of(source: Source, role: int, frame: int) -> int:
    """Where the row of a role and a picture is; past the last frame the last one stays."""
    if role == ABSENT:
        return source.positives + source.negatives
    role = role if source.negatives else POSITIVE  # the image stands on both sides
    count = (source.positives, source.negatives)[role]
    return role * source.positives + min(frame, count - 1)


def pack(parts: Iterable[Linear], positives: int, changes: bool, dtype: torch.dtype = torch.float32) -> Packed:
    """Packed rows of K', V', K', V' … of the layers, each (R, H · T · d). `changes`: whether the level ever does.

    Each is cast as it comes, so that no more than one of them is there in full precision.
    """
    kept = [tuple(one.to(dtype) for one in (part if changes else (part.still + part.scaled,))) for part in parts]
    still, *scaled = (torch.cat(tensors, dim=1) for tensors in zip(*kept, strict=True))
    return Packed(still, scaled[0] if scaled else None, positives, len(still) - positives)


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
    return longest if longest % min(positive, negative) == 0 else aligned_length(positive, negative)


def aligned_length(positive: int, negative: int) -> int:
    """Tokens of every row where none are repeated."""
    longest = max(positive, negative)
    return longest if positive == negative else -(-longest // ALIGNED) * ALIGNED


def fill_up(sequence: Weighed, length: int, repeats: bool) -> Weighed:
    """Tokens and weights (P, T, …) at a length, repeated or followed by their mean, which leaves that as it is."""
    count = sequence.tokens.shape[1]
    if length == count or (repeats and length % count == 0):
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


class LayerRows(NamedTuple):
    """K' and V' of a layer, (R, H, T, d), and what its own keys are read with."""

    keys: Tensor
    values: Tensor
    own: OwnKeys | None


def unpack(
    rows: Tensor, layers: Sequence[CrossAttentionLayer], tokens: int, with_own: bool = False
) -> Iterator[LayerRows]:
    """What each layer reads, as views of the packed rows."""
    heads = [layer.channels // layer.heads for layer in layers]
    own = [ALIGNED + 2 * head if with_own else 0 for head in heads]
    sizes = [size for layer, last in zip(layers, own, strict=True) for size in (*2 * (tokens * layer.channels,), last)]
    pieces = iter(rows.split(sizes, dim=1))
    for layer, head in zip(layers, heads, strict=True):
        keys, values = (next(pieces).unflatten(1, (layer.heads, -1, head)) for _ in range(2))
        yield LayerRows(keys, values, unpack_own(next(pieces), head))


def unpack_own(rows: Tensor, head: int) -> OwnKeys | None:
    """Of (R, 8 + 2 · d); None of (R, 0)."""
    if not rows.shape[1]:
        return None
    weight, query, key = rows.split([ALIGNED, head, head], dim=1)
    return OwnKeys(weight[:, :1].unsqueeze(1), *(scale[:, None, None] for scale in (query, key)))


def pack_own(scales: Tensor, weight: Tensor) -> Linear:
    """Of scales (2, d) and weights (R, 1): (R, 8 + 2 · d), of which only the weight follows the level."""
    still = torch.cat([weight.new_zeros(ALIGNED), scales.flatten().to(weight)]).expand(len(weight), -1)
    scaled = pad(weight, (0, still.shape[1] - 1))
    return Linear(still, scaled)


@dataclass(frozen=True)
class Tokens:
    """Image tokens of a part at one length, and what the values of each weigh."""

    rows: Tensor  # (P + 1, T, C): the images', or each frame's, then the unconditional's, if there is one
    weights: Tensor  # (P + 1, T, 1)
    lengths: Lengths | None = None  # where not all of them count
    negatives: int = 1

    @property
    def positives(self) -> int:
        return self.rows.shape[0] - self.negatives


def side_by_side(positive: Weighed, negative: Weighed, repeats: bool = True) -> Tokens:
    """Rows of the images (P, T, C) and of the unconditional (1, T', C) at one length.

    `repeats` says whether tokens may be repeated, which changes what is made of them where other keys are read too.
    """
    counts = positive.tokens.shape[1], negative.tokens.shape[1]
    length = common_length(*counts) if repeats else aligned_length(*counts)
    sides = zip(fill_up(positive, length, repeats), fill_up(negative, length, repeats), strict=True)
    whole = all(length == count or (repeats and length % count == 0) for count in counts)
    rows, weights = (torch.cat(side) for side in sides)
    return Tokens(rows, weights, None if whole else Lengths(*counts, length))


def layer_rows(
    projection: LayerProjection, tokens: Tokens, heads: int, share: LayerWeight, weight: float, mode: Scaling
) -> tuple[Linear, ...]:
    """K' and V' of one layer (paper eq. 4) as functions of the level, its own weight and λ multiplied in."""
    scales = projection.scales()
    if scales is not None:
        return rows_with_own(projection, tokens, heads, share.weight * weight, scales)
    keys, values = projection.keys(tokens.rows, heads), projection.values(tokens.rows) * tokens.weights
    pair = scale(mode, keys, values)
    keys_of, values_of = (Linear(one.still, one.scaled * (weight * share.weight)) for one in pair)
    return pack_linear(keys_of, heads), pack_linear(values_of, heads)


def rows_with_own(
    projection: LayerProjection, tokens: Tokens, heads: int, weight: float, scales: Tensor
) -> tuple[Linear, ...]:
    """The same where the picture's own keys are read beside the tokens: λ weighs all of it, and so does the loudest
    image, beside which the others are quieter."""
    loudest = tokens.weights.gather(1, tokens.weights.abs().argmax(dim=1, keepdim=True))  # (P + 1, 1, 1)
    quieter = torch.where(loudest == 0, 1.0, tokens.weights / loudest)
    keys, values = projection.keys(tokens.rows, heads), projection.values(tokens.rows) * quieter
    pair = (pack_heads(one, heads) for one in (keys, values))
    return (
        *(Linear(one, one.new_zeros(()).expand_as(one)) for one in pair),
        pack_own(scales, weight * loudest.squeeze(2)),
    )


def pack_linear(linear: Linear, heads: int) -> Linear:
    """Both parts with heads apart, (R, H · T · d)."""
    return Linear(pack_heads(linear.still, heads), pack_heads(linear.scaled, heads))


def invert(linear: Linear, positives: int) -> Linear:
    """The image for the negative side and nothing for the positive: (P + 1, N) to (2 P, N)."""
    return Linear(*(torch.cat([torch.zeros_like(rows[:positives]), rows[:positives]]) for rows in linear))


def repeat_negative(linear: Linear, positives: int) -> Linear:
    """The unconditional's row once a frame, beside layers that have one a frame: (P + 1, N) to (2 P, N)."""
    negative = slice(positives, None) if len(linear.still) > positives else slice(None)
    return Linear(*(torch.cat([rows[:positives], rows[negative].expand(positives, -1)]) for rows in linear))
