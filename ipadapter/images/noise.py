"""Noise in place of a picture, or mixed into one, most often for the negative image.

With s the strength, x the picture (mid-grey where there is none) and u uniform noise of each pixel and channel:

- fade: (1 - s) x + s u.
- dissolve: u in a random share s of the pixels, x in the others.
- gaussian: x + s n / 2, where n is standard Gaussian noise of each pixel and channel.
- shuffle: the pixels of x moved by a smooth random field of up to s / 3 of the picture's side, and the picture flipped
  upside down and left to right, each with the probability s.

The result is kept within 0 … 1, then blurred by a Gaussian. Every number is drawn from a generator of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import torch
from torch import Generator, Tensor
from torch.nn.functional import conv2d, grid_sample, interpolate, pad

from ..errors import IPAdapterError
from .pixels import GREY, colour_channels, refuse_unusable

FIELD = 8  # random displacements along each side, smoothed in between
REACH = 1 / 3  # of the picture's side: the largest displacement


class Noise(str, Enum):
    """How a picture is disturbed."""

    FADE = "fade"
    DISSOLVE = "dissolve"
    GAUSSIAN = "gaussian"
    SHUFFLE = "shuffle"


def make_noise(image: Tensor | None, kind: Noise, strength: float, blur: float, seed: int, size: int) -> Tensor:
    """Pictures (N, H, W, 3) from pictures (N, H, W, 1 | 3 | 4), or one from a grey square of `size` pixels.

    `strength` is in 0 … 1, `blur` a standard deviation in pixels. Raises IPAdapterError for what is no picture, and
    for a shuffle without one.
    """
    if image is None and kind is Noise.SHUFFLE:
        raise IPAdapterError(
            "type is 'shuffle', which moves the pixels of a picture, but there is no image: connect one, or choose "
            "another type."
        )
    x = torch.full((1, 3, size, size), GREY) if image is None else picture(image)
    generator = Generator(device="cpu").manual_seed(seed)
    return blurred(KINDS[kind](x, strength, generator).clamp(0, 1), blur).movedim(1, -1)


def picture(image: Tensor) -> Tensor:
    """(N, H, W, 1 | 3 | 4) to (N, 3, H, W)."""
    refuse_unusable(image)
    return colour_channels(image.movedim(-1, 1).float())


def uniform(x: Tensor, generator: Generator) -> Tensor:
    """Numbers in 0 … 1, as many as x has."""
    return torch.rand(x.shape, generator=generator).to(x)


def fade(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Picture and noise mixed."""
    return (1 - strength) * x + strength * uniform(x, generator)


def dissolve(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Noise in a share of the pixels."""
    chosen = uniform(x[:, :1], generator) < strength
    return torch.where(chosen, uniform(x, generator), x)


def gaussian(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Gaussian noise on top."""
    return x + 0.5 * strength * torch.randn(x.shape, generator=generator).to(x)


def shuffle(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Pixels moved and pictures flipped."""
    images, _, height, width = x.shape
    moved = 2 * torch.rand(images, 2, FIELD, FIELD, generator=generator).to(x) - 1
    field = interpolate(moved, size=(height, width), mode="bicubic").movedim(1, -1)  # (N, H, W, 2)
    signs = 1 - 2 * (torch.rand(images, 1, 1, 2, generator=generator).to(x) < strength).to(x)
    places = signs * grid(x) + 2 * REACH * strength * field.clamp(-1, 1)
    return grid_sample(x, places, padding_mode="reflection", align_corners=False)


def grid(x: Tensor) -> Tensor:
    """Where each pixel of (N, c, H, W) is, as `grid_sample` counts: (1, H, W, 2), x before y, in -1 … 1."""
    rows, columns = ((2 * torch.arange(side, device=x.device) + 1) / side - 1 for side in x.shape[2:])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)[None]


KINDS: dict[Noise, Callable[[Tensor, float, Generator], Tensor]] = {
    Noise.FADE: fade,
    Noise.DISSOLVE: dissolve,
    Noise.GAUSSIAN: gaussian,
    Noise.SHUFFLE: shuffle,
}


def blurred(x: Tensor, deviation: float) -> Tensor:
    """(N, 3, H, W) under a Gaussian of a standard deviation in pixels, the edges carried on."""
    if deviation <= 0:
        return x
    reach = round(3 * deviation)
    steps = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (steps / deviation) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
    flat = pad(x, (reach, reach, reach, reach), mode="replicate").flatten(0, 1).unsqueeze(1)  # (3 N, 1, h, w)
    return conv2d(conv2d(flat, kernel), kernel.movedim(2, 3)).view(x.shape).clamp(0, 1)
