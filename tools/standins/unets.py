"""The UNets that everything else fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from .noise import shapes_of

CHANNELS = 320


@dataclass(frozen=True)
class UNetShape:
    """A UNet of the host with 320 channels at every level."""

    attention_depths: tuple[int, ...]  # transformer blocks after each residual block on the way down
    attention_depths_out: tuple[int, ...]  # the same on the way up, first level last
    middle_depth: int
    levels: int
    context: int
    extra: Mapping[str, object] = field(default_factory=dict)

    def config(self) -> dict[str, object]:
        """The host's keyword arguments for its UNetModel and ControlNet."""
        return {
            "image_size": 32,
            "in_channels": 4,
            "model_channels": CHANNELS,
            "num_res_blocks": [2] * self.levels,
            "channel_mult": [1] * self.levels,
            "transformer_depth": list(self.attention_depths),
            "transformer_depth_output": list(self.attention_depths_out),
            "transformer_depth_middle": self.middle_depth,
            "context_dim": self.context,
            "use_spatial_transformer": True,
            "legacy": False,
            **self.extra,
        }

    @property
    def cross_attention_layers(self) -> int:
        return sum(self.attention_depths) + sum(self.attention_depths_out) + self.middle_depth


SD15 = UNetShape((1, 1, 1, 1, 1, 1, 0, 0), (1,) * 9 + (0,) * 3, 1, 4, 768, {"num_heads": 8})
SDXL = UNetShape(
    (0, 0, 2, 2, 10, 10),
    (0, 0, 0, 2, 2, 2, 10, 10, 10),
    10,
    3,
    2048,
    {
        "num_head_channels": 64,
        "use_linear_in_transformer": True,
        "num_classes": "sequential",
        "adm_in_channels": 2816,
    },
)


def unet_shapes(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(out_channels=4, device="meta", dtype=torch.float16, **shape.config())
    return shapes_of(unet, "model.diffusion_model.")
