"""From image tokens to keys and values of one layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, rms_norm, silu


class LayerProjection(nn.Module):
    """W'_k and W'_v of one cross-attention layer (paper eq. 4)."""

    to_k_ip: nn.Linear
    to_v_ip: nn.Linear
    bias = False

    def __init__(self, channels: int, context_dim: int, time_width: int, operations: Any) -> None:
        super().__init__()
        self.to_k_ip = operations.Linear(context_dim, channels, bias=self.bias)
        self.to_v_ip = operations.Linear(context_dim, channels, bias=self.bias)

    def at(self, tokens: Tensor, *time: Tensor) -> Tensor:
        """Tokens (R, T, C) as the layer reads them at a noise level, which `time` (1, D) tells those that ask."""
        return tokens

    def scales(self) -> Tensor | None:
        """What the picture's own queries and keys are scaled by, (2, d), where those are read beside the tokens."""
        return None

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


FLUX_HEAD = 128  # width of every FLUX's heads


class ScaledNorm(nn.Module):
    """The norm of each head with a scale that was learned (InstantCharacter `norm_layer.py`)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(FLUX_HEAD))

    def forward(self, x: Tensor) -> Tensor:
        """(…, d)."""
        size: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        return self.scale.to(x) * x / (size + 1e-6)


class ScaledProjection(BiasedProjection):
    """Keys and queries are normalised head by head, with a scale each (InstantCharacter `attn_processor.py`).

    The queries' scale is multiplied into the keys, with which alone it meets, so that the queries need no number of an
    adapter's.
    """

    def __init__(self, channels: int, context_dim: int, time_width: int, operations: Any) -> None:
        super().__init__(channels, context_dim, time_width, operations)
        self.norm_ip_q, self.norm_ip_k = ScaledNorm(), ScaledNorm()

    def keys(self, tokens: Tensor, heads: int) -> Tensor:
        keys: Tensor = self.norm_ip_k(super().keys(tokens, heads).unflatten(-1, (heads, -1)))  # (R, T, H, d)
        return (keys * self.norm_ip_q.scale.to(keys)).flatten(-2)


MMDIT_HEAD = 64  # width of every MMDiT's heads


class HeadNorm(nn.Module):
    """The norm of each head with a scale that was learned."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(MMDIT_HEAD))

    def forward(self, x: Tensor) -> Tensor:
        """(…, d)."""
        return rms_norm(x, x.shape[-1:], self.weight.to(x), eps=1e-6)


class TimedNorm(nn.Module):
    """A norm whose shift and scale follow the noise level (`AdaLayerNorm`)."""

    def __init__(self, width: int, time_width: int, operations: Any) -> None:
        super().__init__()
        self.linear = operations.Linear(time_width, 2 * width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(R, T, C) and (1, D) to (R, T, C)."""
        shift, scale = self.linear(silu(time)).unsqueeze(1).chunk(2, dim=-1)  # (1, 1, C) each
        return torch.addcmul(shift, layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class TimedProjection(LayerProjection):
    """For a joint attention in which the picture's own keys stand beside the tokens (diffusers
    `SD3IPAdapterJointAttnProcessor2_0`)."""

    def __init__(self, channels: int, context_dim: int, time_width: int, operations: Any) -> None:
        super().__init__(channels, context_dim, time_width, operations)
        self.norm_ip = TimedNorm(context_dim, time_width, operations)
        self.norm_q, self.norm_k, self.norm_ip_k = HeadNorm(), HeadNorm(), HeadNorm()

    def at(self, tokens: Tensor, *time: Tensor) -> Tensor:
        out: Tensor = self.norm_ip(tokens, *time)
        return out

    def scales(self) -> Tensor:
        return torch.stack([self.norm_q.weight, self.norm_k.weight])

    def keys(self, tokens: Tensor, heads: int) -> Tensor:
        out: Tensor = self.norm_ip_k(super().keys(tokens, heads).unflatten(-1, (heads, -1)))  # (R, T, H, d)
        return out.flatten(-2)
