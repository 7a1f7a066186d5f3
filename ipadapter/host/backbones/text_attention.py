"""The host's own attention to the text, as its CrossAttention calls it, and with heads apart where that is safe."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction, signature
from typing import Any

import comfy.ldm.modules.attention
from torch import Tensor

from ...attention.decoupled import HeadsAttention

OVERRIDE = "optimized_attention_override"  # the host's key for a user's own attention function
HEADS_APART = {"skip_reshape": True, "skip_output_reshape": True}


def functions_that_take_heads() -> tuple[Callable[..., Tensor], ...]:
    """The host's attention functions that take and give heads apart."""
    functions = filter(isfunction, vars(comfy.ldm.modules.attention).values())
    return tuple(function for function in functions if HEADS_APART.keys() <= signature(function).parameters.keys())


TAKE_HEADS = functions_that_take_heads()


class HostTextAttention(HeadsAttention):
    """The function that the host has chosen, with precision and options passed on so that a user's override stays in
    force."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        return attend(q, k, v, extra_options)

    def takes_heads(self, extra_options: dict[str, Any]) -> bool:
        """Not where somebody else's function is called, which has met a UNet's heads only together."""
        chosen = comfy.ldm.modules.attention.optimized_attention
        return OVERRIDE not in extra_options and chosen in TAKE_HEADS

    def by_heads(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        return attend(q, k, v, extra_options, **HEADS_APART)


def attend(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any], **layout: bool) -> Tensor:
    """As the host's CrossAttention calls it."""
    out: Tensor = comfy.ldm.modules.attention.optimized_attention(
        q,
        k,
        v,
        extra_options["n_heads"],
        attn_precision=extra_options["attn_precision"],
        transformer_options=extra_options,
        **layout,
    )
    return out


host_text_attention = HostTextAttention()
