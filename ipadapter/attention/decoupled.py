"""Decoupled cross-attention (paper eq. 5 and 8): Z = Attn(Q, K, V) + λ · Attn(Q, K', V').

This is the hot path: it runs in every cross-attention layer of every step. Nothing here depends on a number that
changes between runs other than through tensors; λ is already inside V'. Heads are taken apart once for both attentions
and brought together once, so that a layer does no more than without an image prompt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..backbones.unet import Place
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


class Branch(NamedTuple):
    """K' and V' of one image prompt at one layer, a row for each row of the layer: (R, H, T, d)."""

    keys: Tensor
    values: Tensor
    mask: LayerMask | None
    hidden: Tensor | None = None  # (R, 1, 1, T): -inf at tokens that only fill a row up, else 0


Branches = dict[Place, tuple[Branch, ...]]


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
    ) -> None:
        self.rows = rows
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
        """A layer's branches."""
        if self.asked is not None:
            self.asked.add(place)
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
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


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


def add_image(text: Tensor, image: Tensor, mask: LayerMask | None, options: dict[str, Any]) -> Tensor:
    """An attention's output plus an image branch's (R, H, L, d), within a mask. Heads are as the former has them."""
    image = image if text.ndim == image.ndim else join_heads(image)
    if mask is None:
        return text + image
    within = mask.at(options["activations_shape"])  # (1 or R, 1, L, 1)
    return torch.addcmul(text, image, within if text.ndim == within.ndim else within.squeeze(1))


def branches_at(place: Place, query: Tensor, options: dict[str, Any]) -> tuple[Branch, ...]:
    """A layer's branches in a call. Raises IPAdapterError where nobody has prepared the call."""
    call: CallBranches | None = options.get(CALL_KEY)
    if call is None:
        raise IPAdapterError(
            "the model was called past ComfyUI's apply_model, so the image prompt could not be prepared: a node "
            "between ApplyIPAdapter and the sampler replaces the model's forward."
        )
    return call.at(place, query, options)


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


class CrossAttentionPatch:
    """What the host calls in place of one layer's text attention. Immutable but for what other packs add.

    `text` is that text attention: the host's, or another pack's patch that stood here before. `call_end` drops what
    was made for the run.
    """

    def __init__(
        self, place: Place, text: TextAttention, call_end: Callable[[], None], added: Sequence[Added] = ()
    ) -> None:
        self.place = place
        self.text = text
        self.call_end = call_end
        self.added = [*added]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        out = self.attend(q, k, v, extra_options)
        for added in self.added:
            out = added(out, q, k, v, extra_options) if added.acts(extra_options) else out
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """Text and images, (R, L, H · d)."""
        if isinstance(self.text, HeadsAttention):
            refuse_other_rows(q, k)
        branches = branches_at(self.place, q, extra_options)
        if not branches:
            return self.text(q, k, v, extra_options)
        query = split_heads(q, extra_options["n_heads"])
        text = text_attention(self.text, query, q, k, v, extra_options)
        return join_heads(self.add_branches(text, query, branches, extra_options))

    def add(self, function: Callable[..., Tensor], **settings: Any) -> None:
        """Take another pack's attention behind this one, as its nodes ask of whatever stands at a layer."""
        self.added.append(Added(function, settings))

    def add_branches(
        self, text: Tensor, query: Tensor, branches: tuple[Branch, ...], options: dict[str, Any]
    ) -> Tensor:
        """The text attention's output plus every image branch, each within its mask."""
        for branch in branches:
            text = add_image(text, image_attention(query, branch), branch.mask, options)
        return text

    def to(self, device_or_dtype: Any) -> CrossAttentionPatch:
        """Follow the host's move: only a wrapped patch holds anything to move."""
        moved = forward_call(self.text, "to", device_or_dtype)
        if moved is None or moved is self.text:
            return self
        return self.around(moved)

    def around(self, text: TextAttention) -> CrossAttentionPatch:
        """The same patch over another text attention, with a list of its own of what is added."""
        return CrossAttentionPatch(self.place, text, self.call_end, self.added)

    def models(self) -> list[Any]:
        """Patchers of a wrapped patch, for the host to load."""
        return forward_call(self.text, "models") or []

    def cleanup(self) -> None:
        """After a run, finished, failed or interrupted: drop what was made for it."""
        self.call_end()
        forward_call(self.text, "cleanup")


def forward_call(target: Any, method: str, *arguments: Any) -> Any:
    """Call a method that a wrapped patch may have."""
    function = getattr(target, method, None)
    return function(*arguments) if function else None
