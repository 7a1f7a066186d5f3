"""InstantCharacter's projection: the late hidden states of a picture read its early ones and those of its quarters, and
queries then read them as the noise level asks for.

Source: Tencent's InstantCharacter `models/resampler.py` (`CrossLayerCrossScaleProjector`); its blocks are diffusers'
`BasicTransformerBlock`, its perceptrons timm's `Mlp`.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from .family import ProjectionSpec
from .projection import TimeEmbedding, TimeResampler, heads

WHOLE, EARLY = 1, 3  # of eight parts of the states: the whole picture's late ones, its early ones, its quarters'
PARTS = 8


class Attention(nn.Module):
    """Heads of 64, without biases but the last."""

    def __init__(self, width: int, operations: Any) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (operations.Linear(width, width, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([operations.Linear(width, width)])

    def forward(self, asking: Tensor, asked: Tensor) -> Tensor:
        """(N, S, D) and (N, S', D) to (N, S, D)."""
        query, key, value = (heads(x) for x in (self.to_q(asking), self.to_k(asked), self.to_v(asked)))
        made: Tensor = self.to_out[0](
            rearrange(scaled_dot_product_attention(query, key, value), "n h s d -> n s (h d)")
        )
        return made


class GatedGELU(nn.Module):
    """Half of a linear map, by the GELU of the other half."""

    def __init__(self, width: int, inner: int, operations: Any) -> None:
        super().__init__()
        self.proj = operations.Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """(N, S, D) to (N, S, F)."""
        passed, gate = self.proj(x).chunk(2, dim=-1)
        out: Tensor = passed * gelu(gate)
        return out


class GatedFeedForward(nn.Module):
    """Two linear maps, the first gated, four times as wide within."""

    def __init__(self, width: int, operations: Any) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GatedGELU(width, 4 * width, operations), nn.Identity(), operations.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, S, D)."""
        out: Tensor = self.net(x)
        return out


class ReadingBlock(nn.Module):
    """States that attend to themselves, then to others."""

    def __init__(self, width: int, operations: Any) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (operations.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.attn1, self.attn2 = (Attention(width, operations) for _ in range(2))
        self.ff = GatedFeedForward(width, operations)

    def forward(self, states: Tensor, others: Tensor) -> Tensor:
        """(N, S, D) and (N, S', D) to (N, S, D)."""
        own = self.norm1(states)
        states = states + self.attn1(own, own)
        states = states + self.attn2(self.norm2(states), others)
        out: Tensor = states + self.ff(self.norm3(states))
        return out


class Perceptron(nn.Module):
    """Two linear maps around a GELU, twice as wide within."""

    def __init__(self, width: int, operations: Any) -> None:
        super().__init__()
        self.fc1, self.fc2 = operations.Linear(width, 2 * width), operations.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, S, D)."""
        out: Tensor = self.fc2(gelu(self.fc1(x), approximate="tanh"))
        return out


class CharacterProjection(nn.Module):
    """T learned queries that read several layers of two encoders as the noise level asks for."""

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        super().__init__()
        width = spec.feature_dim
        self.cross_layer_blocks, self.cross_scale_blocks = (
            nn.ModuleList(ReadingBlock(width, operations) for _ in range(spec.blocks)) for _ in range(2)
        )
        self.proj, self.proj_cross_layer, self.proj_cross_scale = (Perceptron(width, operations) for _ in range(3))
        self.resampler = TimeResampler(spec, operations)

    @property
    def time_embedding(self) -> TimeEmbedding:
        """What tells the noise level."""
        return self.resampler.time_embedding

    def settle(self, states: Tensor) -> Tensor:
        """States (N, 8 S, D) to what the queries read, (N, 2 S, D), which is the same at every noise level."""
        side = states.shape[1] // PARTS
        late, early, quarters = states.split([WHOLE * side, EARLY * side, states.shape[1] - (WHOLE + EARLY) * side], 1)
        across_layers = self.proj_cross_layer(read_through(self.cross_layer_blocks, late, early))
        across_scales = self.proj_cross_scale(read_through(self.cross_scale_blocks, late, quarters))
        return torch.cat([self.proj(late) + across_scales, across_layers], dim=1)

    def forward(self, settled: Tensor, time: Tensor) -> Tensor:
        """(N, 2 S, D) and (1, dim) to (N, T, C)."""
        out: Tensor = self.resampler(settled, time)
        return out


def read_through(blocks: nn.ModuleList, states: Tensor, others: Tensor) -> Tensor:
    """States (N, S, D) that read others (N, S', D), block after block."""
    for block in blocks:
        states = block(states, others)
    return states
