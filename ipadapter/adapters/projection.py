"""From encoder features to image tokens: the projections of the paper and its reference code.

Each takes `operations`, the namespace its `Linear` and `LayerNorm` come from, so that the host's own layers (which
cast weights to the input's dtype and device) can be used. Sources: tencent-ailab/IP-Adapter `ip_adapter.py`,
`ip_adapter_faceid.py`, `resampler.py`; diffusers `models/embeddings.py` for what follows the noise level.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from .family import ProjectionSpec

DIM_HEAD = 64  # of every public Resampler


class LinearProjection(nn.Module):
    """The paper's: one linear map of the image embedding to T tokens, and a LayerNorm (`ImageProjModel`)."""

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        super().__init__()
        self.context_dim = spec.context_dim
        self.proj = operations.Linear(spec.feature_dim, (spec.tokens or 1) * spec.context_dim)
        self.norm = operations.LayerNorm(spec.context_dim)

    def forward(self, image_embeds: Tensor) -> Tensor:
        """(N, E) to (N, T, C)."""
        out: Tensor = self.norm(rearrange(self.proj(image_embeds), "n (t c) -> n t c", c=self.context_dim))
        return out


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
        out: Tensor = self.proj(hidden)
        return out


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
        return self.attend(self.norm1(features), self.norm2(latents))

    def attend(self, features: Tensor, latents: Tensor) -> Tensor:
        """The same of what has been normalised."""
        query = heads(self.to_q(latents))
        key, value = map(heads, self.to_kv(torch.cat([features, latents], dim=1)).chunk(2, dim=-1))
        out = scaled_dot_product_attention(query, key, value)  # (N, H, T, 64)
        made: Tensor = self.to_out(rearrange(out, "n h t d -> n t (h d)"))
        return made


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

    def __init__(self, dim: int, inner_dim: int, ff_dim: int, operations: Any) -> None:
        super().__init__([PerceiverAttention(dim, inner_dim, operations), feed_forward(dim, ff_dim, operations)])

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """(N, S, dim) and (N, T, dim) to (N, T, dim)."""
        attention, feed = self
        latents = latents + attention(features, latents)
        out: Tensor = latents + feed(latents)
        return out


class TimedLayer(PerceiverLayer):
    """Such a layer in which both norms of the latents are shifted and scaled by the noise level."""

    def __init__(self, dim: int, inner_dim: int, ff_dim: int, operations: Any) -> None:
        super().__init__(dim, inner_dim, ff_dim, operations)
        self.append(nn.Sequential(nn.SiLU(), operations.Linear(dim, 4 * dim)))

    def forward(self, features: Tensor, latents: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        """(N, S, dim), (N, T, dim) and (1, dim) to (N, T, dim)."""
        parts: Any = [*self]
        attention, (norm, *feed), modulation = parts
        shift, scale, feed_shift, feed_scale = modulation(time).unsqueeze(1).chunk(4, dim=-1)  # (1, 1, dim) each
        asking = torch.addcmul(shift, attention.norm2(latents), 1 + scale)
        latents = latents + attention.attend(attention.norm1(features), asking)
        fed: Tensor = torch.addcmul(feed_shift, norm(latents), 1 + feed_scale)
        for step in feed:
            fed = step(fed)
        return latents + fed


class Perceiver(nn.Module):
    """Latents that read features through a few layers (`FacePerceiverResampler`)."""

    layer: type[PerceiverLayer] = PerceiverLayer

    def __init__(self, spec: ProjectionSpec, dim: int, operations: Any) -> None:
        super().__init__()
        self.proj_in = operations.Linear(spec.feature_dim, dim)
        layers = (self.layer(dim, spec.inner_dim, spec.ff_dim, operations) for _ in range(spec.depth))
        self.layers = nn.ModuleList(layers)
        self.proj_out = operations.Linear(dim, spec.context_dim)
        self.norm_out = operations.LayerNorm(spec.context_dim)

    def read(self, features: Tensor, latents: Tensor) -> Tensor:
        """(N, S, D) and (N, T, dim) to (N, T, C)."""
        return self.read_in(self.proj_in(features), latents)

    def read_in(self, features: Tensor, latents: Tensor, *time: Tensor) -> Tensor:
        """The same of features (N, S, dim), at a noise level where the layers ask for it."""
        for layer in self.layers:
            latents = layer(features, latents, *time)
        out: Tensor = self.norm_out(self.proj_out(latents))
        return out


class Resampler(Perceiver):
    """T learned queries that read the penultimate hidden states, or a face embedding as a sequence of one."""

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        super().__init__(spec, spec.dim, operations)
        self.latents = nn.Parameter(torch.empty(1, spec.tokens or 1, spec.dim))

    def forward(self, features: Tensor) -> Tensor:
        """(N, S, D) or (N, D) to (N, T, C)."""
        sequence = features if features.ndim == 3 else features.unsqueeze(1)
        return self.read(sequence, self.queries(sequence))

    def queries(self, sequence: Tensor) -> Tensor:
        """The latents for each of N sequences, (N, T, dim)."""
        return self.latents.to(sequence).expand(sequence.shape[0], -1, -1)


class TimeEmbedding(nn.Module):
    """A noise level as sines through a two-layer perceptron (diffusers `TimestepEmbedding`)."""

    def __init__(self, time_dim: int, dim: int, operations: Any) -> None:
        super().__init__()
        self.linear_1 = operations.Linear(time_dim, dim)
        self.linear_2 = operations.Linear(dim, dim)
        self.time_dim = time_dim

    def forward(self, sigma: float, like: Tensor) -> Tensor:
        """A flow's noise level, 0 … 1, to (1, dim), on the device and in the precision of `like`."""
        out: Tensor = self.linear_2(silu(self.linear_1(sines(1000 * sigma, self.time_dim, like))))
        return out


def sines(time: float, width: int, like: Tensor) -> Tensor:
    """Cosines and sines of a time at falling frequencies, (1, width)."""
    steps = torch.arange(width // 2, dtype=torch.float32, device=like.device)
    angles = torch.tensor([[time]], dtype=torch.float32, device=like.device) * torch.exp(
        -math.log(10000) * steps / (width // 2)
    )
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(like.dtype)


class TimeResampler(Resampler):
    """T learned queries that read the penultimate hidden states as the noise level asks for
    (`IPAdapterTimeImageProjection`)."""

    layer = TimedLayer

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        super().__init__(spec, operations)
        self.time_embedding = TimeEmbedding(spec.time_dim, spec.dim, operations)

    def forward(self, features: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        """(N, S, D) and (1, dim) to (N, T, C)."""
        return self.read_in(self.proj_in(features) + time.unsqueeze(1), self.queries(features), time)


class PerceptronProjection(nn.Module):
    """An embedding to T tokens through a two-layer perceptron, and a LayerNorm (`MLPProjModel`)."""

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        super().__init__()
        self.context_dim = spec.context_dim
        read, width = spec.reads[0][1], (spec.tokens or 1) * spec.context_dim
        self.proj = nn.Sequential(operations.Linear(read, spec.dim), nn.GELU(), operations.Linear(spec.dim, width))
        self.norm = operations.LayerNorm(spec.context_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, E) to (N, T, C)."""
        out: Tensor = self.norm(rearrange(self.proj(embedding), "n (t c) -> n t c", c=self.context_dim))
        return out


class FaceIDPlusProjection(PerceptronProjection):
    """Such tokens of a face's embedding, which then read the penultimate hidden states of it (`ProjPlusModel`)."""

    def __init__(self, spec: ProjectionSpec, operations: Any) -> None:
        super().__init__(spec, operations)
        self.perceiver_resampler = Perceiver(spec, spec.context_dim, operations)

    def forward(self, face: Tensor, hidden: Tensor, shares: Tensor) -> Tensor:  # type: ignore[override]
        """(N, 512), (N, S, D) and (2,) to (N, T, C): `shares` are those of the identity and of what it has read."""
        identity, (own, read) = super().forward(face), shares
        out: Tensor = own * identity + read * self.perceiver_resampler.read(hidden, identity)
        return out
