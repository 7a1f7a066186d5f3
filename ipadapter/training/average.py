"""The moving average of the weights in the course of a run, which is often a better adapter than its last step."""

from __future__ import annotations

import torch
from torch import Tensor

from ..adapters.module import IPAdapter
from .fresh import continued


class WeightAverage:
    """`average ← average + (1 − d) · (weights − average)`, d from 0 up to `decay` (diffusers `EMAModel`)."""

    def __init__(self, adapter: IPAdapter, decay: float, updates: int = 0) -> None:
        self.adapter = moved(continued(adapter), next(adapter.parameters()).device).requires_grad_(False)
        self.decay, self.updates = decay, updates

    @torch.no_grad()
    def follow(self, adapter: IPAdapter) -> None:
        """Take one step's weights in."""
        averages, weights = (trained_tensors(module) for module in (self.adapter, adapter))
        torch._foreach_lerp_(averages, weights, 1.0 - decay_of(self.updates, self.decay))
        self.updates += 1


def trained_tensors(adapter: IPAdapter) -> list[Tensor]:
    """All that learns, in one order: a LoRA from a file has that of the file."""
    return [*adapter.parameters(), *(adapter.lora[key] for key in sorted(adapter.lora))]


def moved(adapter: IPAdapter, device: torch.device) -> IPAdapter:
    """An adapter on a device, with its LoRA."""
    adapter.lora = {key: tensor.to(device) for key, tensor in adapter.lora.items()}
    return adapter.to(device)


def decay_of(updates: int, most: float) -> float:
    """How much of the average stays: none at first, when it would hold the weights before the first step."""
    return min(most, (1 + updates) / (10 + updates)) if updates else 0.0
