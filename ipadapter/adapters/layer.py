"""From image tokens to keys and values of one layer."""

from __future__ import annotations

from typing import Any

from torch import nn


class LayerProjection(nn.Module):
    """W'_k and W'_v of one cross-attention layer (paper eq. 4)."""

    to_k_ip: nn.Linear
    to_v_ip: nn.Linear

    def __init__(self, channels: int, context_dim: int, operations: Any) -> None:
        super().__init__()
        self.to_k_ip = operations.Linear(context_dim, channels, bias=False)
        self.to_v_ip = operations.Linear(context_dim, channels, bias=False)
