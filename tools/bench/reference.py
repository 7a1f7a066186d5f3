"""A training step as the reference's `tutorial_train.py` has it, on diffusers' UNet with diffusers' adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.utils
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from pack.ipadapter.adapters.module import IPAdapter
from pack.ipadapter.adapters.writing import file_tensors
from pack.ipadapter.training.recipe import Recipe
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import AdamW, Optimizer

from tools.bench.models import META, Base, Model, unet_config

TRAINED = (".to_k_ip.", ".to_v_ip.", "image_projection_layers")
HEADS = 8  # of every layer of SD1.5
HEAD_WIDTH = 64  # of every head of SDXL
POOLED = 1280  # of SDXL's pooled text; the rest of its vector is the embedded sizes
TIMESTEPS = 1000


@dataclass(frozen=True)
class Examples:
    """One batch, as the reference's data loader and its random numbers give it, on the device."""

    latents: Tensor  # (B, 4, h, w)
    noise: Tensor  # (B, 4, h, w)
    timestep: Tensor  # (B,)
    text: Tensor  # (B, L, C)
    vector: Tensor | None  # (B, P), of SDXL
    features: Tensor  # (B, E) or (B, S, D)


def diffusers_config(base: Base, width: int) -> dict[str, Any]:
    """diffusers' keyword arguments for the UNet that `unet_config` describes to the host."""
    channels = [width * level for level in base.levels]
    depths = base.config["transformer_depth"][::2]  # type: ignore[index]  # two blocks a level
    kinds = ["CrossAttn" if depth else "" for depth in depths]
    config = {
        "block_out_channels": channels,
        "cross_attention_dim": base.context_dim,
        "attention_head_dim": [c // HEAD_WIDTH for c in channels] if base.adm else HEADS,  # their name for heads
        "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
        "transformer_layers_per_block": [max(depth, 1) for depth in depths],
        "use_linear_projection": bool(base.config.get("use_linear_in_transformer")),
    }
    return config | size_config(base.adm)


def size_config(adm: int | None) -> dict[str, Any]:
    """What SDXL has beside: the pooled text and the sizes, six numbers of 256."""
    if adm is None:
        return {}
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": adm,
    }


def diffusers_unet(base: Base, width: int, model: Model, adapter: IPAdapter) -> UNet2DConditionModel:
    """diffusers' UNet over the very weights of the host's, with a copy of the adapter, which alone learns."""
    with META:
        unet = UNet2DConditionModel(**diffusers_config(base, width))
    weights = model.model.diffusion_model.state_dict()
    names = comfy.utils.unet_to_diffusers(unet_config(base, width))
    unet.load_state_dict({name: weights[names[name]] for name in unet.state_dict()}, assign=True)
    unet._load_ip_adapter_weights([nested(adapter)], low_cpu_mem_usage=False)
    if base.adm:
        unet.add_time_proj = nn.Identity()  # the host hands the sizes on embedded
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(any(part in name for part in TRAINED))
    return unet


def nested(adapter: IPAdapter) -> dict[str, dict[str, Tensor]]:
    """An adapter as diffusers loads it."""
    groups: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in file_tensors(adapter).items():
        group, _, key = name.partition(".")
        groups[group][key] = tensor.clone()
    return groups


class ReferenceTraining:
    """The reference's run, its batches made beforehand."""

    def __init__(self, unet: UNet2DConditionModel, recipe: Recipe, batches: Sequence[Examples]) -> None:
        self.unet, self.batches = unet, batches
        learned = [p for p in unet.parameters() if p.requires_grad]
        self.optimizer: Optimizer = AdamW(learned, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self.scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        self.losses: list[float] = []

    def step(self) -> None:
        """Forward, backward, AdamW; the loss is read each time, as there."""
        loss = self.loss(self.batches[len(self.losses)])
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.detach().item())

    def loss(self, batch: Examples) -> Tensor:
        """The mean squared error of the noise."""
        noisy = self.scheduler.add_noise(batch.latents, batch.noise, batch.timestep)
        added = {"image_embeds": [batch.features.unsqueeze(1)]} | pooled(batch.vector)
        predicted = self.unet(noisy, batch.timestep, batch.text, added_cond_kwargs=added).sample
        return mse_loss(predicted.float(), batch.noise.float())

    @contextmanager
    def checkpointed(self) -> Iterator[None]:
        """With diffusers' own gradient checkpointing."""
        self.unet.enable_gradient_checkpointing()
        try:
            yield
        finally:
            self.unet.disable_gradient_checkpointing()

    def held(self) -> Iterator[Tensor]:
        """The weights."""
        yield from self.unet.parameters()


def pooled(vector: Tensor | None) -> dict[str, Tensor]:
    """The pooled text and the embedded sizes of SDXL."""
    return {} if vector is None else {"text_embeds": vector[:, :POOLED], "time_ids": vector[:, POOLED:]}
