"""Small random models of the real classes, the same weights in diffusers and in the host.

Layer layout, keys and token widths are the public models'; only channel counts are small, so that a test takes
seconds. No pretrained weight is used anywhere in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

Tensors = dict[str, Tensor]

POOLED = 64  # width of the small models' pooled text embedding


@dataclass(frozen=True)
class Layout:
    """A UNet family's shape: what differs between SD1.5 and SDXL, at a width of our choosing."""

    name: str
    channels: tuple[int, ...]
    depth: tuple[int, ...]  # transformer blocks of each level, 0 for none
    context_dim: int
    heads: tuple[int, ...]
    linear: bool
    adm: int | None
    host_class: type
    expected_layers: int
    res_blocks: int = 2

    @property
    def diffusers_config(self) -> dict:
        attn = [d > 0 for d in self.depth]
        config = dict(
            sample_size=16,
            block_out_channels=self.channels,
            layers_per_block=self.res_blocks,
            cross_attention_dim=self.context_dim,
            attention_head_dim=self.heads,  # diffusers' name for the number of heads
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attn),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attn)),
            transformer_layers_per_block=tuple(max(d, 1) for d in self.depth),
            use_linear_projection=self.linear,
        )
        if self.adm:
            config |= dict(
                addition_embed_type="text_time",
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=self.adm,
            )
        return config

    @property
    def host_config(self) -> dict:
        base = self.channels[0]
        per_block = [d for d in self.depth for _ in range(self.res_blocks)]
        per_output = [d for d in self.depth for _ in range(self.res_blocks + 1)]
        return dict(
            image_size=32,
            in_channels=4,
            out_channels=4,
            model_channels=base,
            num_res_blocks=[self.res_blocks] * len(self.channels),
            channel_mult=[c // base for c in self.channels],
            transformer_depth=per_block,
            transformer_depth_output=per_output,
            transformer_depth_middle=max(self.depth[-1], 1),
            context_dim=self.context_dim,
            use_spatial_transformer=True,
            use_linear_in_transformer=self.linear,
            adm_in_channels=self.adm,
            num_classes="sequential" if self.adm else None,
            legacy=False,
            use_temporal_attention=False,
            use_temporal_resblock=False,
        )


SD15 = Layout("SD1.5", (32, 64, 64, 64), (1, 1, 1, 0), 768, (8, 8, 8, 8), False, None, comfy.supported_models.SD15, 16)
MINI = Layout("SD1.5", (32, 64), (1, 1), 768, (8, 8), False, None, comfy.supported_models.SD15, 7, res_blocks=1)
MICRO = Layout("SD1.5", (32,), (1,), 768, (8,), False, None, comfy.supported_models.SD15, 4, res_blocks=1)
# A layer in the middle and one on the way up, for what the number of layers or of places makes no difference to.
LEAST = replace(MICRO, res_blocks=0, expected_layers=2)
SDXL = Layout(
    "SDXL", (64, 64, 128), (0, 2, 10), 2048, (1, 1, 2), True, POOLED + 6 * 256, comfy.supported_models.SDXL, 70
)
# Its levels and blocks, of fewer layers each, for what a block with more of them would show no better.
SHALLOW_SDXL = replace(SDXL, depth=(0, 1, 2), expected_layers=17)


def scatter(module: torch.nn.Module, seed: int, std: float = 0.06) -> None:
    """Random weights large enough that every layer matters to the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * std
            parameter.copy_(noise + 1 if "norm" in name and name.endswith("weight") else noise)


@cache
def reference_unet(layout: Layout, seed: int = 0) -> UNet2DConditionModel:
    """The diffusers side, made once: adapters may come and go, its own weights stay."""
    return make_reference_unet(layout, seed)


def make_reference_unet(layout: Layout, seed: int = 0) -> UNet2DConditionModel:
    """One of a test's own."""
    with torch.inference_mode(False):
        unet = UNet2DConditionModel(**layout.diffusers_config).eval().requires_grad_(False)
        scatter(unet, seed)
    return unet


def reference_weights(layout: Layout, seed: int = 0) -> Tensors:
    """The base model's weights, without whatever adapter a test has put in."""
    weights = reference_unet(layout, seed).state_dict()
    return {key: tensor for key, tensor in weights.items() if "processor" not in key and "encoder_hid_proj" not in key}


def host_model(
    layout: Layout, weights: Tensors, dtype: torch.dtype = torch.float32, cast: torch.dtype | None = None
) -> comfy.model_patcher.ModelPatcher:
    """The host side with the same weights, stored as `dtype` and computed in `cast` where that is another."""
    names = comfy.utils.unet_to_diffusers(layout.host_config)
    config = layout.host_class(dict(layout.host_config))
    config.set_inference_dtype(dtype, cast)
    offload = comfy.model_management.unet_offload_device()
    with torch.inference_mode(False):
        model = MODEL_CLASSES[layout.host_class](config, device=offload)
        model.diffusion_model.load_state_dict({names[key]: tensor for key, tensor in weights.items()}, strict=True)
        model.eval().requires_grad_(False)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=offload)


MODEL_CLASSES = {
    comfy.supported_models.SD15: lambda config, device: comfy.model_base.BaseModel(config, device=device),
    comfy.supported_models.SDXL: lambda config, device: comfy.model_base.SDXL(config, device=device),
}


@dataclass(frozen=True)
class Pair:
    """One random model on the host's side; `reference_unet` is the other."""

    layout: Layout
    host: comfy.model_patcher.ModelPatcher = field(repr=False)


@cache
def make_pair(layout: Layout, seed: int = 0) -> Pair:
    """The same random UNet in diffusers and in the host, made once: no test changes a base model."""
    return Pair(layout, host_model(layout, reference_weights(layout, seed)))
