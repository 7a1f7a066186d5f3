"""Image tokens beside the text's, in the same attention (the paper's ablation), and in their place."""

from __future__ import annotations

import torch
from torch import Tensor

from .studio import Conditioning, text


def with_tokens(tokens: Tensor) -> Conditioning:
    """Tokens (1, T, C) after the empty text's."""
    return [[torch.cat([words, tokens], dim=1), options] for words, options in text("")]


def plain_tokens(tokens: Tensor) -> Conditioning:
    """Tokens (1, T, C) alone."""
    return [[tokens, options] for _, options in text("")]
