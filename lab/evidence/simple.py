"""The simple adapter of the paper's ablation at work: image tokens beside the text's, in the same attention."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ipadapter.adapters.projection import LinearProjection
from ipadapter.prompts.prompt import ImagePrompt

from ..stages import simple_adapter
from .studio import Conditioning, text


@cache
def projection() -> LinearProjection:
    """The trained projection."""
    return simple_adapter.load()


def simple_conditioning(prompt: ImagePrompt) -> tuple[Conditioning, Conditioning]:
    """The empty text with the image's tokens, and with those of no image."""
    embeds = prompt.parts[0].positive.image_embeds
    return with_tokens(projection()(embeds)), with_tokens(projection()(torch.zeros_like(embeds)))


def with_tokens(tokens: Tensor) -> Conditioning:
    """Tokens (1, T, C) after the empty text's."""
    return [[torch.cat([words, tokens], dim=1), options] for words, options in text("")]
