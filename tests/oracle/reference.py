"""The oracle: diffusers' own UNet with diffusers' own IP-Adapter code, called on the rows the host called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from pack.ipadapter.attention.packing import NEGATIVE, POSITIVE
from torch import Tensor

from tests.adapters import AdapterFile
from tests.small import POOLED, Layout, reference_unet
from tests.world import Call


@dataclass(frozen=True)
class Features:
    """What diffusers is given for one adapter: the images' features and the unconditional's, (n, ...) each."""

    positive: Tensor
    negative: Tensor

    def row(self, role: int) -> Tensor:
        return self.positive if role == POSITIVE else self.negative


@dataclass
class Reference:
    """A diffusers UNet with adapters."""

    layout: Layout
    unet: UNet2DConditionModel

    def noise(
        self, call: Call, roles: list[int], features: list[Features], masks: list[Tensor] | None = None
    ) -> Tensor:
        """The noise prediction for a recorded call, one conditioning at a time."""
        chunks = len(roles)
        inputs = [tensor.chunk(chunks) for tensor in (call.x, call.timestep, call.context)]
        pooled = [None] * chunks if call.y is None else call.y.chunk(chunks)
        residuals = residual_arguments(call, chunks)
        parts = [
            self.predict(x, timestep, context, y, [f.row(role) for f in features], masks, residual)
            for x, timestep, context, y, role, residual in zip(*inputs, pooled, roles, residuals, strict=True)
        ]
        return torch.cat(parts)

    def predict(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        y: Tensor | None,
        embeds: list[Tensor],
        masks: Any,
        residuals: dict[str, Any],
    ) -> Tensor:
        """One conditioning's rows."""
        rows = x.shape[0]
        added = {"image_embeds": [e.unsqueeze(0).expand(rows, *e.shape) for e in embeds]}
        if y is not None:
            added |= self.pooled(y)
        kwargs = {"cross_attention_kwargs": {"ip_adapter_masks": masks}} if masks else {}
        return self.unet(x, timestep, context, added_cond_kwargs=added, **kwargs, **residuals).sample

    def pooled(self, y: Tensor) -> dict[str, Tensor]:
        """The host has already embedded the size ids that diffusers embeds itself: hand them through as they are."""
        text, ids = y[:, :POOLED], y[:, POOLED:]
        self.unet.add_time_proj.forward = lambda flat: flat  # type: ignore[method-assign]
        return {"text_embeds": text, "time_ids": ids}


def residual_arguments(call: Call, chunks: int) -> list[dict[str, Any]]:
    """What ControlNet and T2I-Adapter gave the host's UNet, as diffusers' takes it, for each conditioning."""

    def rows(name: str) -> list[tuple[Tensor, ...]]:
        tensors = [tensor for tensor in call.control.get(name, []) if tensor is not None]
        full = [tensor.expand(call.x.shape[0], *tensor.shape[1:]) for tensor in tensors]
        return list(zip(*(tensor.chunk(chunks) for tensor in full), strict=True)) or [()] * chunks

    return [
        ({"down_block_additional_residuals": skips, "mid_block_additional_residual": middle[0]} if skips else {})
        | ({"down_intrablock_additional_residuals": [*reversed(features)]} if features else {})
        for skips, middle, features in zip(rows("output"), rows("middle"), rows("input"), strict=True)
    ]


def reference_with(
    layout: Layout, files: list[AdapterFile], scale: float | list[float], unet: UNet2DConditionModel | None = None
) -> Reference:
    """diffusers' side with adapters loaded by its own loader."""
    if unet is None:
        unet = shared_unet(layout, tuple(files))
    else:
        load_adapters(unet, files)
    set_scales(unet, scale if isinstance(scale, list) else [scale] * len(files))
    return Reference(layout, unet.eval())


@lru_cache(maxsize=1)
def shared_unet(layout: Layout, files: tuple[AdapterFile, ...]) -> UNet2DConditionModel:
    """The layout's one UNet with these adapters, loaded where it did not have them already."""
    load_adapters(unet := reference_unet(layout), files)
    return unet


def load_adapters(unet: UNet2DConditionModel, files: Sequence[AdapterFile]) -> None:
    with torch.inference_mode(False):
        unet._load_ip_adapter_weights([file.nested for file in files], low_cpu_mem_usage=False)


def set_scales(unet: UNet2DConditionModel, scales: list[float]) -> None:
    """As diffusers' `set_ip_adapter_scale` does."""
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = list(scales)


def roles_by_cfg(call: Call) -> list[int]:
    """KSampler's own order: 0 is the positive."""
    return [NEGATIVE if index else POSITIVE for index in call.cond_or_uncond]
