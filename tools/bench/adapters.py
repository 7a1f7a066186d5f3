"""Adapter files with the public files' tensors, filled with random numbers, and random features to feed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pack.ipadapter.backbones.backbone import CrossAttentionLayer
from safetensors.torch import save_file
from torch import Tensor

from tools.bench.models import SD15, SDXL, Base
from tools.bench.noise import SEED, make_noise, tile

Shapes = Mapping[str, tuple[int, ...]]

EMBED, HIDDEN, PATCHES = 1024, 1280, 257  # of CLIP ViT-H/14, which all of these read
BASE_TOKENS, PLUS_TOKENS = 4, 16
DEPTH = 4
DEVIATION = 0.02


@dataclass(frozen=True)
class AdapterKind:
    """A public adapter: its base, its tokens, and for a Plus the width of its Resampler (0 for the linear one)."""

    base: Base
    tokens: int
    resampler: int = 0

    @property
    def name(self) -> str:
        return f"{self.base.name}{' plus' if self.resampler else ''}, {self.tokens} tokens"

    @property
    def file_name(self) -> str:
        return f"ip-adapter{'-plus' if self.resampler else ''}_{self.base.name.replace('.', '').lower()}.safetensors"


SD15_BASE = AdapterKind(SD15, BASE_TOKENS)
SD15_PLUS = AdapterKind(SD15, PLUS_TOKENS, 768)
SDXL_BASE = AdapterKind(SDXL, BASE_TOKENS)
SDXL_PLUS = AdapterKind(SDXL, PLUS_TOKENS, 1280)
BASE_KINDS = {kind.base.name: kind for kind in (SD15_BASE, SDXL_BASE)}


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def linear_projection(kind: AdapterKind) -> Shapes:
    context = kind.base.context_dim
    return {**linear("proj", kind.tokens * context, EMBED), **norm("norm", context)}


def resampler(kind: AdapterKind) -> Shapes:
    dim, context = kind.resampler, kind.base.context_dim
    ends = {"latents": (1, kind.tokens, dim), **linear("proj_in", dim, HIDDEN), **linear("proj_out", context, dim)}
    layers = {f"layers.{i}.{key}": shape for i in range(DEPTH) for key, shape in resampler_layer(dim).items()}
    return {**ends, **norm("norm_out", context), **layers}


def resampler_layer(dim: int) -> Shapes:
    return {
        **norm("0.norm1", dim),
        **norm("0.norm2", dim),
        "0.to_q.weight": (dim, dim),
        "0.to_kv.weight": (2 * dim, dim),
        "0.to_out.weight": (dim, dim),
        **norm("1.0", dim),
        "1.1.weight": (4 * dim, dim),
        "1.3.weight": (dim, 4 * dim),
    }


def adapter_shapes(kind: AdapterKind, layers: tuple[CrossAttentionLayer, ...]) -> Shapes:
    """Names and shapes of an adapter for these layers, as a safetensors file has them."""
    projection = resampler(kind) if kind.resampler else linear_projection(kind)
    shapes = {f"image_proj.{key}": shape for key, shape in projection.items()}
    for index, layer in enumerate(layers):
        for matrix in ("to_k_ip", "to_v_ip"):
            shapes[f"ip_adapter.{2 * index + 1}.{matrix}.weight"] = (layer.channels, layer.context_dim)
    return shapes


def write_adapter(kind: AdapterKind, layers: tuple[CrossAttentionLayer, ...], folder: Path) -> Path:
    """A file in fp16, as they are published."""
    path, noise = folder / kind.file_name, make_noise().mul(DEVIATION).half()
    save_file({name: tile(noise, shape).clone() for name, shape in adapter_shapes(kind, layers).items()}, path)
    return path


@dataclass(frozen=True)
class Features:
    """What the image encoder would give for one picture, and for the tensor of zeros that stands for none."""

    embeds: Tensor  # (1, E)
    penultimate: Tensor  # (1, S, D)
    zero_penultimate: Tensor  # (1, S, D)


def random_features(seed: int = SEED) -> Features:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((1, EMBED), (1, PATCHES, HIDDEN), (1, PATCHES, HIDDEN))
    return Features(*(torch.randn(shape, generator=generator) for shape in shapes))
