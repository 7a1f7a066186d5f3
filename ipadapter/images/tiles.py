"""A picture that is not square as square tiles, each with its place in it."""

from __future__ import annotations

from enum import Enum
from itertools import product

import torch
from torch import Tensor

from .boxes import Box

MASK_SIDE = 512  # longest side of a region's mask: finer than any latent it is brought to, and small in memory
NEARLY_SQUARE = (0.75, 1.33)  # of height to width


class Tiling(str, Enum):
    """What becomes of the tiles of a reference."""

    TOGETHER = "tiles"  # each is a reference of its own
    IN_PLACE = "tiles in place"  # each acts where it lies in the picture


def tile_boxes(height: int, width: int, tiling: Tiling) -> tuple[Box, ...]:
    """The tiles of a picture.

    They have its short side and lie along the long one; in place, a picture that is nearly square has 2 x 2 of half
    its long side.
    """
    low, high = NEARLY_SQUARE
    if tiling is Tiling.IN_PLACE and low < height / width < high:
        return cover(height, width, -(-max(height, width) // 2))
    return cover(height, width, min(height, width))


def cover(height: int, width: int, side: int) -> tuple[Box, ...]:
    """As few squares as cover a picture, evenly overlapping, row by row."""
    return tuple(Box(top, left, side, side) for top, left in product(starts(height, side), starts(width, side)))


def starts(length: int, side: int) -> tuple[int, ...]:
    """Where pieces of a line begin that cover it with even overlap."""
    count = -(-length // side)
    return tuple(round(index * (length - side) / max(1, count - 1)) for index in range(count))


def rectangle(box: Box, height: int, width: int) -> Tensor:
    """A mask (1, h, w) of a picture's shape, 1 within the box, its longest side at most `MASK_SIDE`."""
    scale = min(1.0, MASK_SIDE / max(height, width))
    mask = torch.zeros(1, max(1, round(scale * height)), max(1, round(scale * width)))
    top, left, bottom, right = (
        round(scale * edge) for edge in (box.top, box.left, box.top + box.height, box.left + box.width)
    )
    mask[:, top:bottom, left:right] = 1.0
    return mask
