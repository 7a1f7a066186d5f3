"""The host's IMAGE, to and from Pillow's pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..images.pixels import refuse_unusable


def single_pictures(batches: Sequence[Tensor]) -> list[Tensor]:
    """Every picture of a list of batches, each (1, H, W, C), in order. Raises IPAdapterError for what is none."""
    for batch in batches:
        refuse_unusable(batch)
    return [picture for batch in batches for picture in batch.split(1)]


def to_pil(picture: Tensor) -> Image.Image:
    """(1, H, W, 1 | 3 | 4) in 0 … 1 to RGB; what is transparent becomes white."""
    levels = (picture[0].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()  # (H, W, C)
    if levels.shape[-1] == 1:
        return Image.fromarray(levels[..., 0]).convert("RGB")
    image = Image.fromarray(levels)
    if image.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def from_pil(image: Image.Image) -> Tensor:
    """RGB to (1, H, W, 3) in 0 … 1."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255)[None]
