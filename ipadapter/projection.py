"""From encoder features to image tokens: the three projections of the paper and its reference code.

Each takes `operations`, the namespace its `Linear` and `LayerNorm` come from, so that the host's own layers (which
cast weights to the input's dtype and device) can be used. Sources: tencent-ailab/IP-Adapter `ip_adapter.py`,
`resampler.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .families import DIM_HEAD, Family, ProjectionSpec


class LinearProjection(nn.Module):
    """The paper's: one linear map of the image embedding to T tokens, and a LayerNorm (`ImageProjModel`)."""

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        super().__init__()
        self.context_dim = spec.context_dim
        self.proj = operations.Linear(spec.feature_dim, (spec.tokens or 1) * spec.context_dim)
        self.norm = operations.LayerNorm(spec.context_dim)

    def forward(self, image_embeds: Tensor) -> Tensor:
        """(N, E) to (N, T, C)."""
        return self.norm(rearrange(self.proj(image_embeds), "n (t c) -> n t c", c=self.context_dim))


class FullFaceProjection(nn.Module):
    """A token for every patch, through a two-layer perceptron (`MLPProjModel`)."""

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            operations.Linear(spec.feature_dim, spec.dim),
            nn.GELU(),
            operations.Linear(spec.dim, spec.context_dim),
            operations.LayerNorm(spec.context_dim),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, S, D) to (N, S, C)."""
        return self.proj(hidden)


class PerceiverAttention(nn.Module):
    """Queries from the latents; keys and values from the features and the latents together."""

    def __init__(self, dim: int, inner_dim: int, operations: Any) -> None:
        super().__init__()
        self.norm1 = operations.LayerNorm(dim)
        self.norm2 = operations.LayerNorm(dim)
        self.to_q = operations.Linear(dim, inner_dim, bias=False)
        self.to_kv = operations.Linear(dim, 2 * inner_dim, bias=False)
        self.to_out = operations.Linear(inner_dim, dim, bias=False)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """(N, S, dim) and (N, T, dim) to (N, T, dim)."""
        features, latents = self.norm1(features), self.norm2(latents)
        query = heads(self.to_q(latents))
        key, value = map(heads, self.to_kv(torch.cat([features, latents], dim=1)).chunk(2, dim=-1))
        out = scaled_dot_product_attention(query, key, value)  # (N, H, T, 64)
        return self.to_out(rearrange(out, "n h t d -> n t (h d)"))


def heads(x: Tensor) -> Tensor:
    """(N, S, H · 64) to (N, H, S, 64)."""
    return rearrange(x, "n s (h d) -> n h s d", d=DIM_HEAD)


def feed_forward(dim: int, ff_dim: int, operations: Any) -> nn.Sequential:
    """LayerNorm, and two linear maps without bias around a GELU."""
    return nn.Sequential(
        operations.LayerNorm(dim),
        operations.Linear(dim, ff_dim, bias=False),
        nn.GELU(),
        operations.Linear(ff_dim, dim, bias=False),
    )


class PerceiverLayer(nn.ModuleList):
    """Attention and feed-forward, each added to the latents. A list, as its keys in the public files are."""

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        attention = PerceiverAttention(spec.dim, spec.inner_dim, operations)
        super().__init__([attention, feed_forward(spec.dim, spec.ff_dim, operations)])

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """(N, S, dim) and (N, T, dim) to (N, T, dim)."""
        attention, feed = self
        latents = latents + attention(features, latents)
        return latents + feed(latents)


class Resampler(nn.Module):
    """T learned queries that read the penultimate hidden states through a few perceiver layers."""

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.empty(1, spec.tokens or 1, spec.dim))
        self.proj_in = operations.Linear(spec.feature_dim, spec.dim)
        self.layers = nn.ModuleList(PerceiverLayer(spec, operations) for _ in range(spec.depth))
        self.proj_out = operations.Linear(spec.dim, spec.context_dim)
        self.norm_out = operations.LayerNorm(spec.context_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, S, D) to (N, T, C)."""
        latents = self.latents.to(hidden).expand(hidden.shape[0], -1, -1)
        features = self.proj_in(hidden)
        for layer in self.layers:
            latents = layer(features, latents)
        return self.norm_out(self.proj_out(latents))


PROJECTIONS: dict[Family, type[nn.Module]] = {
    Family.BASE: LinearProjection,
    Family.FULL_FACE: FullFaceProjection,
    Family.PLUS: Resampler,
}


def build_projection(spec: ProjectionSpec, operations: Any) -> nn.Module:
    """The projection a file describes, with its weights still to come."""
    return PROJECTIONS[spec.family](spec, operations)
