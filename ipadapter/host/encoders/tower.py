"""The host's CLIP_VISION around an image tower that the host has not loaded itself."""

from __future__ import annotations

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import torch
from torch import nn


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
