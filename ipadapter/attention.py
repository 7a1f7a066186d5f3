"""Decoupled cross-attention (paper eq. 5 and 8): Z = Attn(Q, K, V) + λ · Attn(Q, K', V').

This is the hot path: it runs in every cross-attention layer of every step. Nothing here depends on a number that
changes between runs other than through tensors; λ is already inside V'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .errors import IPAdapterError
from .layers import Place
from .masks import LayerMask

CALL_KEY = "ip_adapter"  # where a model call's branches travel in the host's transformer_options

TextAttention = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


class Branch(NamedTuple):
    """K' and V' of one image prompt at one layer, a row for each conditioning of the call: (G, H, T, d)."""

    keys: Tensor
    values: Tensor
    mask: LayerMask | None


Branches = dict[Place, tuple[Branch, ...]]


def image_attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attn(Q, K', V') of the text attention's own query (paper eq. 4).

    Rows of one conditioning share K' and V', so they are attended to as one long row: query (G · b, L, H · d) with
    keys and values (G, H, T, d) to (G · b, L, H · d).
    """
    groups, heads, _, dim = keys.shape
    query_heads = query.reshape(groups, -1, heads, dim).transpose(1, 2)  # (G, H, b · L, d)
    out = scaled_dot_product_attention(query_heads, keys, values)
    return out.transpose(1, 2).reshape(query.shape)


def add_branch(text: Tensor, query: Tensor, branch: Branch, options: dict[str, Any]) -> Tensor:
    """The text attention's output plus one image branch, within its mask."""
    return add_image(text, image_attention(query, branch.keys, branch.values), branch.mask, options)


def add_image(text: Tensor, image: Tensor, mask: LayerMask | None, options: dict[str, Any]) -> Tensor:
    """An attention's output plus an image branch's, within a mask."""
    if mask is None:
        return text + image
    return torch.addcmul(text, image, mask.at(options["activations_shape"]))


def branches_at(place: Place, options: dict[str, Any]) -> tuple[Branch, ...]:
    """A layer's branches in a call. Raises IPAdapterError where nobody has prepared the call."""
    branches: Branches | None = options.get(CALL_KEY)
    if branches is None:
        raise IPAdapterError(
            "the model was called past ComfyUI's apply_model, so the image prompt could not be prepared: a node "
            "between ApplyIPAdapter and the sampler replaces the model's forward."
        )
    return branches.get(place, ())


class CrossAttentionPatch:
    """What the host calls in place of one layer's text attention. Immutable.

    `text` is that text attention: the host's, or another pack's patch that stood here before. `call_end` drops what
    was made for the run.
    """

    def __init__(self, place: Place, text: TextAttention, call_end: Callable[[], None]) -> None:
        self.place = place
        self.text = text
        self.call_end = call_end

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        branches = branches_at(self.place, extra_options)
        out = self.text(q, k, v, extra_options)
        for branch in branches:
            out = add_branch(out, q, branch, extra_options)
        return out

    def to(self, device_or_dtype: Any) -> CrossAttentionPatch:
        """Follow the host's move: only a wrapped patch holds anything to move."""
        moved = forward_call(self.text, "to", device_or_dtype)
        if moved is None or moved is self.text:
            return self
        return self.around(moved)

    def around(self, text: TextAttention) -> CrossAttentionPatch:
        """The same patch over another text attention."""
        return CrossAttentionPatch(self.place, text, self.call_end)

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
