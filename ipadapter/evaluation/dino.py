"""DINOv2 and DINOv3 as judges: the class token after the last norm, by transformers' own models.

Sizes are read off the tensors. Pictures are prepared as transformers' processors of the published models do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import IPAdapterError
from ..files.tensors import Tensors, copied, read_tensors
from ..images.pixels import Fit, PixelFormat
from .judges import Framing, ResemblanceJudge
from .weights import WeightSource

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD_WIDTH, WIDE_HEADS = 64, {4096: 128}  # the largest DINOv3 alone has others
INSTALL_TRANSFORMERS = "DINO is measured with transformers, which is not installed: run `pip install transformers`."


@dataclass(frozen=True)
class DinoKind:
    """A generation of DINO: what tells its files, and how its model is made."""

    name: str
    key: str
    mark: str  # a tensor that only its files have
    layers: str  # what stands before a layer's number
    configure: Callable[[Tensors, int], Any]  # tensors and number of layers to transformers' model, not yet filled
    framing: Framing

    def is_of(self, tensors: Tensors) -> bool:
        return self.mark in tensors

    def depth(self, tensors: Tensors) -> int:
        numbers = {key.partition(self.layers)[2].partition(".")[0] for key in tensors if self.layers in key}
        return len(numbers)


def second_generation(tensors: Tensors, depth: int) -> Any:
    """DINOv2, with registers or without."""
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    stem, places = tensors["embeddings.patch_embeddings.projection.weight"], tensors["embeddings.position_embeddings"]
    width, patch = stem.shape[0], stem.shape[-1]
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": width // HEAD_WIDTH,
        "patch_size": patch,
        "image_size": round((places.shape[1] - 1) ** 0.5) * patch,
        "use_swiglu_ffn": any("mlp.weights_in" in key for key in tensors),
    }
    registers = tensors.get("embeddings.register_tokens")
    if registers is None:
        return Dinov2Model, Dinov2Config(**sizes)
    return Dinov2WithRegistersModel, Dinov2WithRegistersConfig(num_register_tokens=registers.shape[1], **sizes)


def third_generation(tensors: Tensors, depth: int) -> Any:
    """DINOv3's ViTs."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    stem = tensors["embeddings.patch_embeddings.weight"]
    width, patch = stem.shape[0], stem.shape[-1]
    inner = next(tensor.shape[0] for key, tensor in tensors.items() if key.endswith("layer.0.mlp.up_proj.weight"))
    config = DINOv3ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // WIDE_HEADS.get(width, HEAD_WIDTH),
        intermediate_size=inner,
        patch_size=patch,
        num_register_tokens=tensors["embeddings.register_tokens"].shape[1],
        use_gated_mlp=any("mlp.gate_proj" in key for key in tensors),
        hidden_act="silu" if any("mlp.gate_proj" in key for key in tensors) else "gelu",
        query_bias=any("q_proj.bias" in key for key in tensors),
        value_bias=any("v_proj.bias" in key for key in tensors),
    )
    return DINOv3ViTModel, config


DINO_V2 = DinoKind(
    "DINOv2",
    "dino_i",
    "embeddings.position_embeddings",
    "encoder.layer.",
    second_generation,
    Framing(PixelFormat(256, *IMAGENET), Fit.CROP, 224),
)
DINO_V3 = DinoKind(
    "DINOv3",
    "dino_v3_i",
    "embeddings.patch_embeddings.weight",
    "layer.",
    third_generation,
    Framing(PixelFormat(224, *IMAGENET), Fit.STRETCH, 224),
)


class ClassToken(nn.Module):
    """A DINO's class token."""

    def __init__(self, dino: nn.Module) -> None:
        super().__init__()
        self.dino = dino

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, D)."""
        token: Tensor = self.dino(pixel_values=pixels).last_hidden_state[:, 0]
        return token


def open_dino(kind: DinoKind, source: WeightSource) -> ResemblanceJudge:
    """A file of this generation as transformers publishes it. Raises IPAdapterError for another."""
    with torch.inference_mode(False):  # in which transformers could not set what it loads to be left alone
        return read_dino(kind, source)


def read_dino(kind: DinoKind, source: WeightSource) -> ResemblanceJudge:
    tensors = copied(read_tensors(source.file, source.name), source.name)
    if not kind.is_of(tensors):
        other = next((one.name for one in (DINO_V2, DINO_V3) if one.is_of(tensors)), "no DINO in transformers' layout")
        raise IPAdapterError(f"'{source.name}' is {other}, where {kind.name} is needed: choose a file of {kind.name}.")
    try:
        made = fill_dino(kind, tensors)
    except ImportError as error:
        raise IPAdapterError(INSTALL_TRANSFORMERS) from error
    except (KeyError, StopIteration, RuntimeError) as error:
        raise IPAdapterError(f"'{source.name}' is no whole {kind.name} in transformers' layout: {error}.") from error
    return ResemblanceJudge(kind.key, f"{kind.name} ({source.name})", ClassToken(made), kind.framing)


def fill_dino(kind: DinoKind, tensors: Tensors) -> nn.Module:
    """transformers' model with the file's weights. Raises KeyError where some are missing."""
    model_class, config = kind.configure(tensors, kind.depth(tensors))
    made, told = model_class.from_pretrained(
        None, config=config, state_dict=tensors, output_loading_info=True, dtype=torch.float32
    )
    if told["missing_keys"]:
        raise KeyError(f"no {min(told['missing_keys'])}")
    filled: nn.Module = made.requires_grad_(False).eval()
    return filled
