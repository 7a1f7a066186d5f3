"""The host's CLIP_VISION around what the host has not loaded itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ...images.pixels import PixelFormat

Pixels = Callable[[PixelFormat], Tensor]  # pictures as an encoder's normalised pixels, (N, 3, size, size)


class TowerVision(comfy.clip_vision.ClipVisionModel):  # type: ignore[misc]  # the host has no types
    """What all of them hold, under the host's names."""

    def hold(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Take a tower, whose weights are from now on under the host's memory management."""
        self.load_device = comfy.model_management.text_encoder_device()
        self.dtype = dtype
        self.model = model
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            model,
            load_device=self.load_device,
            offload_device=comfy.model_management.text_encoder_offload_device(),
        )


class SeveralLayers(ABC):
    """A CLIP_VISION that gives several layers' hidden states beside what a tower gives."""

    @abstractmethod
    def states(self, pixels: Pixels) -> Tensor:
        """Of N pictures, (N, S + 3 S + 4 S, D)."""
