"""A picture with its content shuffled, which is what ControlNet's shuffle model was trained to be shown.

Every place shows what is at a random other place, and neighbours show neighbours: a smooth random flow over the whole
picture, made of noise at a coarse grid.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from ...host.pictures import from_pil, to_pil

COARSE = 256  # pixels between two points of the noise
SHUFFLE_SEED = 0


def shuffle_content(image: Image.Image) -> Image.Image:
    """The same size, the same colours, other places; the same picture always gives the same."""
    generator = torch.Generator().manual_seed(SHUFFLE_SEED)
    across, down = (flow(image.height, image.width, generator) for _ in range(2))
    places = torch.stack([across, down], dim=-1)[None]  # (1, H, W, 2)
    moved = grid_sample(from_pil(image).movedim(-1, 1), places, align_corners=True)  # (1, 3, H, W)
    return to_pil(moved.movedim(1, -1))


def flow(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Places from one edge of a picture (-1) to the other (1), smooth and random, (H, W)."""
    rows, columns = height // COARSE + 3, width // COARSE + 3
    noise = torch.rand(1, 1, rows, columns, generator=generator)
    wide = interpolate(noise, (height + 2 * COARSE, width + 2 * COARSE), mode="bicubic")[0, 0]
    inner = wide[COARSE : COARSE + height, COARSE : COARSE + width]
    low, high = inner.min(), inner.max()
    return 2 * (inner - low) / (high - low).clamp(min=1e-6) - 1
