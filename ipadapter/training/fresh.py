"""An adapter before its first step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..adapters.family import Family
from ..adapters.layer import LayerProjection
from ..adapters.lora import new_lora
from ..adapters.module import IPAdapter
from ..adapters.projection import Resampler
from ..adapters.spec import AdapterSpec
from ..backbones.backbone import CrossAttentionLayer

LayerMatrices = list[tuple[Tensor, Tensor]]  # W_k and W_v of each layer, (channels, context)


def new_spec(
    name: str, kind: Family, tokens: int, feature_dim: int, layers: tuple[CrossAttentionLayer, ...]
) -> AdapterSpec:
    """The sizes the reference's trainers choose for a base model and an encoder."""
    context_dim = layers[0].context_dim
    projection = kind.start.projection(tokens, feature_dim, context_dim)
    return AdapterSpec(
        name, projection, tuple(layer.channels for layer in layers), kind.start.lora_rank, kind.start.face
    )


def new_adapter(spec: AdapterSpec, weights: LayerMatrices, seed: int) -> IPAdapter:
    """A random projection, and W'_k, W'_v from the model's own W_k, W_v (paper section 3.2.2), in float32.

    Where these are zeros, such an adapter is the base model. A LoRA changes nothing yet.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapter = IPAdapter(spec)
        if isinstance(adapter.image_proj, Resampler):
            nn.init.normal_(adapter.image_proj.latents, std=spec.projection.dim**-0.5)
        if spec.lora_rank:
            adapter.lora = new_lora(spec.channels, spec.context_dim, spec.lora_rank)
    with torch.no_grad():
        for layer, matrices in zip(adapter.layer_projections(), weights, strict=True):
            begin_layer(layer, *matrices)
    return adapter


def begin_layer(layer: LayerProjection, to_k: Tensor, to_v: Tensor) -> None:
    """W'_k and W'_v as these are, without biases."""
    for own, matrix in ((layer.to_k_ip, to_k), (layer.to_v_ip, to_v)):
        own.weight.copy_(matrix)
        if own.bias is not None:
            nn.init.zeros_(own.bias)


def continued(adapter: IPAdapter) -> IPAdapter:
    """A float32 copy of a trained adapter, to go on from."""
    copy = IPAdapter(adapter.spec)
    copy.load_state_dict({key: tensor.detach().float().clone() for key, tensor in adapter.state_dict().items()})
    copy.lora = {key: tensor.detach().float().clone() for key, tensor in adapter.lora.items()}
    return copy
