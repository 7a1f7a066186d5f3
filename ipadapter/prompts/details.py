"""Detail of a reference: n x n sub-tiles of it, each read at the encoder's size, as one image's features.

The patch tokens of the sub-tiles, laid out as the sub-tiles lie, make a grid n times as fine as the encoder's; the mean
of every n x n of them is one token of an ordinary image. The class token and the image embedding are the sub-tiles'
mean.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..errors import IPAdapterError
from .prompt import ImageFeatures


def cut_subtiles(pixels: Tensor, n: int) -> Tensor:
    """(N, 3, n s, n s) to (N n n, 3, s, s), row by row."""
    return rearrange(pixels, "i c (r h) (q w) -> (i r q) c h w", r=n, q=n)


def pool_subtiles(features: ImageFeatures, n: int) -> ImageFeatures:
    """Features of N n n sub-tiles to those of N images."""
    embeds = features.image_embeds.unflatten(0, (-1, n * n)).mean(dim=1)
    hidden = features.penultimate
    return ImageFeatures(embeds, None if hidden is None else pool_tokens(hidden, n))


def pool_tokens(states: Tensor, n: int) -> Tensor:
    """(N n n, 1 + g g, D) to (N, 1 + g g, D)."""
    side = grid_side(states.shape[1])
    first = states[:, :1].unflatten(0, (-1, n * n)).mean(dim=1)  # (N, 1, D)
    grid = rearrange(states[:, 1:], "(i r q) (h w) d -> i d (r h) (q w)", r=n, q=n, h=side)  # (N, D, n g, n g)
    return torch.cat([first, rearrange(avg_pool2d(grid, n), "i d h w -> i (h w) d")], dim=1)


def grid_side(tokens: int) -> int:
    """g of 1 + g g tokens. Raises IPAdapterError where they are not so many."""
    side = math.isqrt(max(0, tokens - 1))
    if side < 1 or side * side + 1 != tokens:
        raise IPAdapterError(
            f"detail needs an image encoder with a class token and a square of patch tokens, but this one makes "
            f"{tokens} tokens: set detail to 1, or use a CLIP image encoder."
        )
    return side
