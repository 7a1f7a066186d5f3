"""CSD (arXiv 2404.01292): how alike two pictures are in style, by a CLIP image tower with a projection of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..encoders.image_tower import (
    CLIP_MEAN,
    CLIP_STD,
    Architecture,
    OpenCLIPTower,
    described_architecture,
    load_tower,
    read_architecture,
)
from ..errors import IPAdapterError
from ..files.tensors import Tensors, copied, read_tensors
from ..images.pixels import Fit, PixelFormat
from .judges import Framing, ResemblanceJudge
from .weights import WeightSource

BACKBONE, STYLE_HEAD = "backbone.", "last_layer_style"
CSD_TOWERS = {1024: "ViT-L-14-quickgelu", 768: "ViT-B-16-quickgelu"}  # by width: those its authors trained


class StyleTower(nn.Module):
    """An image tower that projects into the space of styles."""

    def __init__(self, tower: OpenCLIPTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, size, size) to (N, E)."""
        style: Tensor = self.tower(pixels).image_embeds
        return style


def open_csd(source: WeightSource) -> ResemblanceJudge:
    """A file of CSD, as its authors trained it or as safetensors. Raises IPAdapterError for another."""
    tower = style_tensors(read_tensors(source.file, source.name), source.name)
    architecture = described_architecture(source.file, source.name) or architecture_of(tower, source.name)
    made = load_tower(architecture, copied(tower, source.name), source.name, torch.float32)
    form = PixelFormat(architecture.image_size, CLIP_MEAN, CLIP_STD)
    return ResemblanceJudge("csd", f"CSD ({source.name})", StyleTower(made), Framing(form, Fit.CROP, form.size))


def style_tensors(flat: Tensors, name: str) -> Tensors:
    """The image tower's tensors, with the style's projection in the place of the tower's own."""
    tower = {key.partition(BACKBONE)[2]: tensor for key, tensor in flat.items() if BACKBONE in key}
    head = next((tensor for key, tensor in flat.items() if key.endswith(STYLE_HEAD)), None)
    if not tower or head is None:
        raise IPAdapterError(
            f"'{name}' is no CSD model (no 'backbone.' tensors with 'last_layer_style'): choose CSD-ViT-L."
        )
    return tower | {"proj": head}


def architecture_of(tower: Tensors, name: str) -> Architecture:
    """By the width of the first convolution."""
    stem = tower.get("conv1.weight")
    if stem is None or stem.shape[0] not in CSD_TOWERS:
        raise IPAdapterError(
            f"the image tower of '{name}' is {'nothing' if stem is None else stem.shape[0]} wide, where CSD's are "
            f"{' or '.join(map(str, CSD_TOWERS))}: put its open_clip_config.json beside it."
        )
    return read_architecture(CSD_TOWERS[stem.shape[0]])
