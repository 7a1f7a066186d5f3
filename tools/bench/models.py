"""UNets of the host in their public shapes, or narrower with the same layers, with random weights or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sample
import comfy.supported_models
import torch
from pack.ipadapter.backbones.backbone import CrossAttentionLayer
from pack.ipadapter.backbones.known import find_layers
from torch import Tensor

from tools.bench.noise import SEED, fill_module

Model: TypeAlias = comfy.model_patcher.ModelPatcher

META = torch.device("meta")
FULL_WIDTH = 320  # channels of the first level of every public UNet of these bases
NARROW_WIDTH = 64  # enough for every head to be a multiple of 8 wide, which fused attention asks for
LATENT_SCALE = 8  # pixels a latent position, each way
TEXT_TOKENS = 77


@dataclass(frozen=True)
class Base:
    """A base model's UNet: what the host's classes need to build it, and the size of picture it is made for."""

    name: str
    pixels: int
    context_dim: int
    adm: int | None
    levels: tuple[int, ...]  # channels of each level, as multiples of the first
    config: Mapping[str, object]
    host_class: type
    model_class: type


SD15 = Base(
    "SD1.5",
    512,
    768,
    None,
    (1, 2, 4, 4),
    {
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "transformer_depth_middle": 1,
    },
    comfy.supported_models.SD15,
    comfy.model_base.BaseModel,
)
SDXL = Base(
    "SDXL",
    1024,
    2048,
    2816,
    (1, 2, 4),
    {
        "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "transformer_depth_middle": 10,
        "use_linear_in_transformer": True,
        "num_classes": "sequential",
    },
    comfy.supported_models.SDXL,
    comfy.model_base.SDXL,
)


def unet_config(base: Base, width: int) -> dict[str, object]:
    """The host's keyword arguments for a UNet of this base, `width` channels at its first level."""
    return {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": width,
        "num_res_blocks": [2] * len(base.levels),
        "channel_mult": list(base.levels),
        "context_dim": base.context_dim,
        "adm_in_channels": base.adm,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        **base.config,
    }


def build_model(base: Base, width: int, device: torch.device, dtype: torch.dtype) -> Model:
    """A model as the host's loader wraps it, for the host's own device. A UNet on the meta device has shapes only."""
    config = base.host_class(unet_config(base, width))
    config.set_inference_dtype(dtype, None)
    config.unet_config["dtype"] = dtype
    model = base.model_class(config, device=device)
    if device == META:
        model.model_sampling.to(META)
    else:
        fill_module(model.diffusion_model)
    offload = torch.device("cpu") if device == META else device
    return comfy.model_patcher.CoreModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=offload
    )


def layers_of(model: Model) -> tuple[CrossAttentionLayer, ...]:
    """The cross-attention layers of a model, in the order of the adapter files' numbers."""
    return find_layers(model.model.diffusion_model)


@dataclass(frozen=True)
class ModelCall:
    """The arguments of one call of a model: a positive and a negative row, as CFG asks for them."""

    x: Tensor
    sigma: Tensor
    context: Tensor
    pooled: Tensor | None

    def __call__(self, model: Model) -> Tensor:
        """Call the model with its patches and wrappers as a sampler would."""
        options = {
            **model.model_options["transformer_options"],
            "wrappers": model.wrappers,
            "cond_or_uncond": [0, 1],
        }
        if self.sigma.device != META:
            options["sigmas"] = self.sigma
        extra: dict[str, Any] = {} if self.pooled is None else {"y": self.pooled}
        return model.model.apply_model(
            self.x, self.sigma, c_crossattn=self.context, transformer_options=options, **extra
        )


def make_call(base: Base, pixels: int, device: torch.device, dtype: torch.dtype) -> ModelCall:
    """A random call for one square picture of that many pixels each way."""
    generator = torch.Generator().manual_seed(SEED)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    side = pixels // LATENT_SCALE
    pooled = random(2, base.adm) if base.adm else None
    sigma = torch.full((2,), 5.0, device=device)
    return ModelCall(random(2, 4, side, side).float(), sigma, random(2, TEXT_TOKENS, base.context_dim), pooled)


def sample(model: Model, base: Base, steps: int, pixels: int = 64) -> Tensor:
    """Sample one picture through the host's sampler with CFG, two conditionings to a call."""
    generator = torch.Generator().manual_seed(SEED)
    side = pixels // LATENT_SCALE
    latent = torch.zeros(1, 4, side, side)

    def conditioning() -> list[Any]:
        pooled = {"pooled_output": torch.randn(1, 1280, generator=generator)} if base.adm else {}
        return [[torch.randn(1, TEXT_TOKENS, base.context_dim, generator=generator), pooled]]

    noise = torch.randn(latent.shape, generator=generator)
    texts = (conditioning(), conditioning())
    return comfy.sample.sample(
        model, noise, steps, 7.5, "euler", "normal", *texts, latent, disable_pbar=True, seed=SEED
    )
