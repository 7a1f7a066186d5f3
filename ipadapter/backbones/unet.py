"""The cross-attention layers of a loaded UNet, found by walking it.

Public files number layers in the order in which diffusers lists a UNet's attention processors: down, up, middle.
In the UNet's own names that is input blocks, output blocks, middle block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import IPAdapterError
from .bases import KOLORS, USUAL, BaseModel, base_for, base_model

TRANSFORMER_BLOCK = re.compile(r"^(input|output|middle)_blocks?\.(\d+)\.(?:\d+\.)?transformer_blocks\.(\d+)$")
ORDER = ("input", "output", "middle")
KOLORS_ADM = 5632  # width of Kolors' pooled conditioning; SDXL's is 2816

Place = tuple[str, int, int]


@dataclass(frozen=True)
class CrossAttentionLayer:
    """One layer: where the host finds it, e.g. `("input", 4, 1)`, and its sizes."""

    place: Place
    channels: int
    context_dim: int
    heads: int


@dataclass(frozen=True)
class Block:
    """A transformer block with a cross-attention to a text context."""

    name: str  # of the module within the UNet
    layer: CrossAttentionLayer
    module: nn.Module


def find_blocks(unet: nn.Module) -> tuple[Block, ...]:
    """Every such block, in the order of the adapter files' numbers."""
    found = [
        Block(name, layer_of(match, module), module)
        for name, module in unet.named_modules()
        if (match := TRANSFORMER_BLOCK.match(name)) and getattr(module, "attn2", None) is not None
    ]
    return tuple(sorted(found, key=lambda block: (ORDER.index(block.layer.place[0]), *block.layer.place[1:])))


def block_names(unet: nn.Module) -> tuple[str, ...]:
    """The names of their modules."""
    return tuple(block.name for block in find_blocks(unet))


def find_layers(unet: nn.Module) -> tuple[CrossAttentionLayer, ...]:
    """The cross-attention layers of these blocks."""
    return tuple(block.layer for block in find_blocks(unet))


def layer_of(match: re.Match[str], block: nn.Module) -> CrossAttentionLayer:
    """Place and sizes of one transformer block's cross-attention. The middle block's number is always 0."""
    part, number, depth = match[1], int(match[2]), int(match[3])
    attention: Any = block.attn2
    channels, context_dim = attention.to_q.weight.shape[0], attention.to_k.weight.shape[1]
    place = (part, 0 if part == "middle" else number, depth)
    return CrossAttentionLayer(place, channels, context_dim, int(attention.heads))


def base_of(unet: nn.Module, layers: tuple[CrossAttentionLayer, ...]) -> str:
    """The base model a UNet belongs to, in users' words."""
    context_dim = layers[0].context_dim
    if context_dim == 2048 and adm_width(unet) == KOLORS_ADM:
        return KOLORS
    return base_for(context_dim)


def model_of(unet: nn.Module, layers: tuple[CrossAttentionLayer, ...]) -> BaseModel:
    """What a UNet is."""
    channels = getattr(unet, "in_channels", USUAL)
    return base_model(base_of(unet, layers), layers[0].context_dim, len(layers), channels)


def adm_width(unet: nn.Module) -> int | None:
    """Width of the pooled conditioning, where the UNet has one."""
    embedding = getattr(unet, "label_emb", None)
    modules = embedding.modules() if isinstance(embedding, nn.Module) else ()
    return next((module.in_features for module in modules if isinstance(module, nn.Linear)), None)


def require_layers(unet: nn.Module, wish: str) -> tuple[CrossAttentionLayer, ...]:
    """The UNet's layers. Raises IPAdapterError, with what is wished for, where the model is no UNet."""
    layers = find_layers(unet)
    if not layers:
        raise IPAdapterError(
            f"{wish}, but this model ({type(unet).__name__}) has no UNet cross-attention layers: connect an SD1.5, "
            "SD2.1, SDXL or Kolors model."
        )
    return layers
