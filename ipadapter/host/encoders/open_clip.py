"""open_clip towers as the host's CLIP_VISION."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.utils
import torch

from ...encoders.image_tower import (
    AUTO,
    Architecture,
    OpenCLIPTower,
    architecture_names,
    described_architecture,
    detect_architecture,
    load_tower,
    read_architecture,
    read_visual,
)
from ..files import HOST_ENCODERS, find_file
from .tower import TowerVision

__all__ = ["AUTO", "OpenCLIPVision", "architectures", "open_encoder"]

architectures = architecture_names


class OpenCLIPVision(TowerVision):
    """The host's CLIP_VISION with another model inside: `encode_image` and memory management are the host's."""

    def __init__(self, architecture: Architecture, model: OpenCLIPTower, dtype: torch.dtype) -> None:
        mean, std = architecture.normalisation
        self.image_size = architecture.image_size
        self.image_mean, self.image_std = list(mean), list(std)
        self.model_type = "open_clip"
        self.config = {
            "model_type": "open_clip",
            "architecture": architecture.name,
            "image_size": self.image_size,
            "resize_mode": architecture.resize_mode,
        }
        self.return_all_hidden_states = False
        self.hold(model, dtype)


def open_encoder(name: str, architecture: str) -> OpenCLIPVision:
    """Load one of the user's image encoder files by its listed name."""
    return load_encoder_file(find_file(HOST_ENCODERS, name), name, architecture)


def load_encoder_file(path: Path, name: str, architecture: str = AUTO) -> OpenCLIPVision:
    """Read an image tower, find out or check what it is, and hand it to the host."""
    tower = read_visual(path, name)
    progress = comfy.utils.ProgressBar(1).update_absolute
    chosen = (
        described_architecture(path, name) or detect_architecture(tower, name, progress)
        if architecture == AUTO
        else read_architecture(architecture)
    )
    dtype = tower_dtype()
    return OpenCLIPVision(chosen, load_tower(chosen, tower, name, dtype), dtype)


def tower_dtype() -> torch.dtype:
    """open_clip's layers do not cast their weights, so on a CPU they are kept in float32."""
    device = comfy.model_management.text_encoder_device()
    wanted = comfy.model_management.text_encoder_dtype(device)
    return wanted if device.type != "cpu" and wanted in (torch.float16, torch.bfloat16) else torch.float32
