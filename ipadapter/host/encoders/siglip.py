"""SigLIP towers with their pooling head as the host's CLIP_VISION."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.model_management
import comfy.ops
import torch
from torch import nn

from ...encoders.siglip import NORM_EPS, PoolingHead, SigLIPSizes, read_siglip, siglip_sizes, split_head
from ...errors import IPAdapterError
from ...files.tensors import Tensors, shapes
from ..files import HOST_ENCODERS, find_file
from .tower import TowerVision

MODEL_TYPE = "siglip_vision_model"
PLACE = "visual_projection"  # where the host's model turns what it calls the embedding into CLIP's


class SigLIPVision(TowerVision):
    """The host's CLIP_VISION of a SigLIP, whose `image_embeds` are one vector a picture."""

    def __init__(self, sizes: SigLIPSizes, model: nn.Module, dtype: torch.dtype) -> None:
        self.image_size = sizes.image_size
        self.image_mean, self.image_std = [0.5] * 3, [0.5] * 3
        self.model_type = MODEL_TYPE
        self.config = model_config(sizes)
        self.return_all_hidden_states = True
        self.hold(model, dtype)


def model_config(sizes: SigLIPSizes) -> dict[str, Any]:
    """In the words of the host's own configurations."""
    return {
        "model_type": MODEL_TYPE,
        "architecture": sizes.name,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": sizes.width,
        "image_size": sizes.image_size,
        "intermediate_size": sizes.inner,
        "num_attention_heads": sizes.heads,
        "num_channels": 3,
        "num_hidden_layers": sizes.depth,
        "patch_size": sizes.patch,
    }


def build_siglip(sizes: SigLIPSizes, operations: Any) -> nn.Module:
    """The host's tower with the head in the place of the projection that SigLIP has none of, without weights."""
    with torch.device("meta"):
        made: nn.Module = comfy.clip_model.CLIPVisionModelProjection(model_config(sizes), None, "meta", operations)
        setattr(made, PLACE, PoolingHead(sizes.width, sizes.inner, sizes.heads, operations))
    for module in made.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = NORM_EPS  # the host's are CLIP's, 1e-5
    return made


def open_siglip(name: str) -> SigLIPVision:
    """Load one of the user's image encoder files by its listed name."""
    return load_siglip_file(find_file(HOST_ENCODERS, name), name)


def load_siglip_file(path: Path, name: str) -> SigLIPVision:
    """Read an image tower with its head and hand it to the host. Raises IPAdapterError for any other file."""
    tower = read_siglip(path, name)
    sizes = siglip_sizes(tower, name)
    dtype = comfy.model_management.text_encoder_dtype(comfy.model_management.text_encoder_device())
    weights = {key: tensor.to(dtype) for key, tensor in split_head(tower, f"{PLACE}.").items()}
    refuse_damaged(sizes, weights, name)
    model = build_siglip(sizes, comfy.ops.manual_cast)
    model.load_state_dict(weights, assign=True)
    return SigLIPVision(sizes, model.requires_grad_(False).eval(), dtype)


def refuse_damaged(sizes: SigLIPSizes, weights: Tensors, name: str) -> None:
    """Raises IPAdapterError where a tensor is missing, superfluous or of another shape.

    Asked of torch's own layers: the host's may come without weights until a file is loaded.
    """
    expected, found = shapes(dict(build_siglip(sizes, nn).state_dict())), shapes(weights)
    if expected != found:
        key = min(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise IPAdapterError(
            f"'{name}' is damaged: {key} is {list(found.get(key, ())) or 'missing'}, where a {sizes.name} has "
            f"{list(expected.get(key, ())) or 'no such tensor'}; download it again."
        )
