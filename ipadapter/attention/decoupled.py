"""Decoupled cross-attention (paper eq. 5 and 8): Z = Attn(Q, K, V) + λ · Attn(Q, K', V').

This is the hot path: it runs in every cross-attention layer of every step. Nothing here depends on a number that
changes between runs other than through tensors; λ is already inside V'. Heads are taken apart once for both attentions
and brought together once, so that a layer does no more than without an image prompt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ..backbones.backbone import Grid, Place
from ..backbones.joint import Joining
from ..errors import IPAdapterError
from .masks import LayerMask

CALL_KEY = "ip_adapter"  # where a model call's branches travel in the host's transformer_options

ALWAYS_FROM = 999_999_999.0  # the noise level that stands for the very beginning

TextAttention = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


class HeadsAttention(ABC):
    """A text attention that can be asked with its heads apart too: the host's own."""

    @abstractmethod
    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """Queries (R, L, H · d), keys and values (R, T, H · d) to (R, L, H · d)."""

    @abstractmethod
    def takes_heads(self, extra_options: dict[str, Any]) -> bool:
        """Whether it may be asked so in this call."""

    @abstractmethod
    def by_heads(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """Queries (R, H, L, d), keys and values (R, H, T, d) to (R, H, L, d), or (R, L, H · d) where it can no better.

        The host's own do the latter where rows are very many.
        """


class OwnKeys(NamedTuple):
    """For an attention that reads the picture's own keys and values beside the tokens: what its queries and keys are
    scaled by, (R, 1, 1, d), and what all of it weighs, (R, 1, 1)."""

    weight: Tensor
    query: Tensor
    key: Tensor


class Branch(NamedTuple):
    """K' and V' of one image prompt at one layer, a row for each row of the layer: (R, H, T, d)."""

    keys: Tensor
    values: Tensor
    mask: LayerMask | None
    hidden: Tensor | None = None  # (R, 1, 1, T): -inf at tokens that only fill a row up, else 0
    joining: Joining | None = None  # in a joint attention: where it asks and adds
    own: OwnKeys | None = None


Branches = dict[Place, tuple[Branch, ...]]


class Asking(NamedTuple):
    """The query of the joint attention that is running, (R, H, N, d), the rotations that place it, and the norm that
    it has gone through in the picture's rows; None where the call does not know its model, as in training."""

    query: Tensor
    positions: Tensor | None
    norm: nn.Module | None


class CallBranches:
    """What a model call of so many rows brings to its layers.

    Another pack may hand a layer more rows than the call has; `arrange` then makes branches for those, from the
    layer's query (R', L, C) and the host's options, once for each number of rows.
    """

    def __init__(
        self,
        rows: int,
        branches: Branches,
        arrange: Callable[[Tensor, dict[str, Any]], Branches] | None = None,
        asked: set[Place] | None = None,
        latent: Grid = (0, 0),
        model: nn.Module | None = None,
    ) -> None:
        self.rows = rows
        self.latent = latent  # of the picture that the call is about
        self.model = model  # that is called
        self.asking: Asking | None = None
        self.branches = branches
        self.arrange = arrange
        self.asked = asked  # gathers the layers that have asked; None where nobody counts them
        self.arranged: dict[int, Branches] = {}
        self.level: float | None = None

    def sigma(self, options: dict[str, Any]) -> float:
        """The call's noise level. The device is waited for once a call, not once a layer."""
        if self.level is None:
            self.level = float(options["sigmas"][0])
        return self.level

    def at(self, place: Place, query: Tensor, options: dict[str, Any]) -> tuple[Branch, ...]:
        """A layer's branches, which it is about to add."""
        if self.asked is not None:
            self.asked.add(place)
        return self.seen(place, query, options)

    def seen(self, place: Place, query: Tensor, options: dict[str, Any]) -> tuple[Branch, ...]:
        """A layer's branches for one who only looks."""
        rows = query.shape[0]
        if rows == self.rows or self.arrange is None:
            return self.branches.get(place, ())
        if rows not in self.arranged:
            self.arranged[rows] = self.arrange(query, options)
        return self.arranged[rows].get(place, ())


def refuse_other_rows(q: Tensor, k: Tensor) -> None:
    """Refuse keys of other rows than the queries', which a text attention would fail at, or deal out wrongly."""
    if q.shape[0] != k.shape[0]:
        raise IPAdapterError(
            f"a cross-attention layer was given {k.shape[0]} rows of text for {q.shape[0]} of the picture: a sampler "
            "that puts texts of its own behind the others (NAG's do so) reaches no layer that has a patch; use "
            "another sampler, or leave out the image prompt."
        )


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(R, L, H · d) to (R, H, L, d), a view."""
    out: Tensor = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    return out


def join_heads(x: Tensor) -> Tensor:
    """(R, H, L, d) to (R, L, H · d); what has its heads together stays as it is."""
    return x if x.ndim == 3 else x.transpose(1, 2).flatten(2)


def text_attention(
    text: TextAttention, query: Tensor, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]
) -> Tensor:
    """Attn(Q, K, V): heads apart as in `query` (R, H, L, d) where it can be had so, else together as in `q`."""
    if not (isinstance(text, HeadsAttention) and text.takes_heads(options)):
        return text(q, k, v, options)
    heads = query.shape[1]
    return text.by_heads(query, split_heads(k, heads), split_heads(v, heads), options)


def image_attention(query: Tensor, branch: Branch) -> Tensor:
    """Attn(Q, K', V') of the text attention's own query (paper eq. 4), (R, H, L, d)."""
    return scaled_dot_product_attention(query, branch.keys, branch.values, attn_mask=branch.hidden)


def add_image(text: Tensor, image: Tensor, within: Tensor | None) -> Tensor:
    """An attention's output plus an image branch's (R, H, L, d), within a mask (1 or R, 1, L, 1).

    Heads are as the former has them.
    """
    image = image if text.ndim == image.ndim else join_heads(image)
    if within is None:
        return text + image
    return torch.addcmul(text, image, within if text.ndim == within.ndim else within.squeeze(1))


def masked(image: Tensor, mask: Tensor | None) -> Tensor:
    """What a branch adds within its mask."""
    return image if mask is None else image * mask


def call_of(options: dict[str, Any]) -> CallBranches:
    """What a call brings. Raises IPAdapterError where nobody has prepared it."""
    call: CallBranches | None = options.get(CALL_KEY)
    if call is None:
        raise IPAdapterError(
            "the model was called past ComfyUI's apply_model, so the image prompt could not be prepared: a node "
            "between Apply IP-Adapter and the sampler replaces the model's forward."
        )
    return call


def branches_at(place: Place, query: Tensor, options: dict[str, Any]) -> tuple[Branch, ...]:
    """A layer's branches in a call. Raises IPAdapterError where nobody has prepared the call."""
    return call_of(options).at(place, query, options)


@dataclass(frozen=True)
class Added:
    """Another pack's attention behind this one: ComfyUI_IPAdapter_plus, InstantID and PuLID add theirs to whatever
    stands at a layer, each with the noise levels between which it acts."""

    function: Callable[..., Tensor]
    settings: Mapping[str, Any]

    def acts(self, options: dict[str, Any]) -> bool:
        """Whether a call is within its noise levels; they are asked for only where there are ends."""
        start, end = (self.settings.get(key) for key in ("sigma_start", "sigma_end"))
        if start is None or end is None or (start >= ALWAYS_FROM and end <= 0) or "sigmas" not in options:
            return True
        call: CallBranches = options[CALL_KEY]
        return bool(end <= call.sigma(options) <= start)

    def __call__(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        """Beside what there is so far, (R, L, H · d)."""
        return (out + self.function(out, q, k, v, options, **self.settings)).to(out.dtype)
