"""One image prompt through one adapter on one model: K' and V' of every layer, made once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import comfy.model_management
import torch
from einops import rearrange
from torch import Tensor

from ..adapter import IPAdapter, features_for
from ..errors import IPAdapterError
from ..image_prompt import ImagePrompt
from ..layers import CrossAttentionLayer
from ..masks import is_blank
from ..strength import Strength
from .adapter import Adapter


@dataclass(frozen=True)
class Application:
    """What one ApplyIPAdapter adds to a model.

    `packed` holds K' and λ·V' of every layer one after another, a row for the image and one for the unconditional:
    (2, Σ layers 2 · T · C). One tensor, so that it is moved and its rows are chosen in one operation.
    """

    name: str
    layers: tuple[CrossAttentionLayer, ...]
    tokens: int
    packed: Tensor
    strength: Strength
    mask: Tensor | None  # (M, H, W)


def make_application(
    adapter: Adapter,
    prompt: ImagePrompt,
    layers: tuple[CrossAttentionLayer, ...],
    strength: Strength,
    mask: Tensor | None,
) -> Application:
    """Project a prompt for these layers. Raises IPAdapterError where encoder or mask do not fit."""
    refuse_mask(mask)
    tokens = project_tokens(adapter, prompt)
    packed = pack_layers(adapter, tokens, layers, strength.weight)
    return Application(adapter.spec.name, layers, tokens.shape[1], packed, strength, mask)


def refuse_mask(mask: Tensor | None) -> None:
    """Refuse a mask that no picture could use."""
    if mask is None:
        return
    if mask.ndim != 3 or 0 in mask.shape:
        raise IPAdapterError(f"mask has shape {list(mask.shape)}, where [masks, height, width] is needed.")
    if not bool(torch.isfinite(mask).all()):
        raise IPAdapterError("mask holds NaN or infinite numbers: look at the node that made it.")
    if is_blank(mask):
        raise IPAdapterError("mask is empty: the image prompt would act nowhere; paint where it should act.")


def project_tokens(adapter: Adapter, prompt: ImagePrompt) -> Tensor:
    """Image tokens, a row for the images and one for the unconditional: (2, T, C), in float32."""
    features = features_for(adapter.spec, prompt)
    comfy.model_management.load_models_gpu([adapter.patcher])
    module: IPAdapter = adapter.patcher.model
    device = adapter.patcher.load_device
    return common_length(*(module.tokens(rows.to(device, torch.float32)) for rows in features))


def pack_layers(adapter: Adapter, tokens: Tensor, layers: tuple[CrossAttentionLayer, ...], weight: float) -> Tensor:
    """K' and λ·V' of every layer (paper eq. 4 and 8), heads apart as the attention reads them."""
    module: IPAdapter = adapter.patcher.model
    parts = []
    for layer, projection in zip(layers, module.layer_projections(), strict=True):
        keys, values = projection.to_k_ip(tokens), projection.to_v_ip(tokens) * weight
        parts += [pack_heads(keys, layer.heads), pack_heads(values, layer.heads)]
    return torch.cat(parts, dim=1).to(comfy.model_management.intermediate_device())


def common_length(positive: Tensor, negative: Tensor) -> Tensor:
    """Two sequences (1, T, C) as rows of one (2, T, C).

    Repeating every token of a sequence equally often leaves the attention over it as it is.
    """
    length = math.lcm(positive.shape[1], negative.shape[1])
    return torch.cat([tokens.repeat(1, length // tokens.shape[1], 1) for tokens in (positive, negative)])


def pack_heads(x: Tensor, heads: int) -> Tensor:
    """(2, T, H · d) to (2, H · T · d), each head's tokens together."""
    return rearrange(x, "r t (h d) -> r (h t d)", h=heads)
