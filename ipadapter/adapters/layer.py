"""From image tokens to keys and values of one layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import rms_norm


class LayerProjection(nn.Module):
    """W'_k and W'_v of one cross-attention layer (paper eq. 4)."""

    to_k_ip: nn.Linear
    to_v_ip: nn.Linear
    bias = False

    def __init__(self, channels: int, context_dim: int, operations: Any) -> None:
        super().__init__()
        self.to_k_ip = operations.Linear(context_dim, channels, bias=self.bias)
        self.to_v_ip = operations.Linear(context_dim, channels, bias=self.bias)

    def keys(self, tokens: Tensor, heads: int) -> Tensor:
        """K' (R, T, H · d) of tokens (R, T, C)."""
        out: Tensor = self.to_k_ip(tokens)
        return out

    def values(self, tokens: Tensor) -> Tensor:
        """V' (R, T, H · d) of tokens (R, T, C)."""
        out: Tensor = self.to_v_ip(tokens)
        return out


class BiasedProjection(LayerProjection):
    """With a bias each (x-flux `layers.py`, `IPDoubleStreamBlockProcessor`)."""

    bias = True


class NormedProjection(LayerProjection):
    """Keys are normalised head by head, and values are not (InstantX `attention_processor.py`)."""

    def keys(self, tokens: Tensor, heads: int) -> Tensor:
        by_head = super().keys(tokens, heads).unflatten(-1, (heads, -1))  # (R, T, H, d)
        return rms_norm(by_head, by_head.shape[-1:], eps=1e-5).flatten(-2)
