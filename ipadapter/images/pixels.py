"""From a picture to the pixels an image encoder reads.

The numbers are those of the reference's preprocessing as the host implements it: bicubic with antialiasing, rounded
to 8 bits, normalised. What does not count - padding, masked-out or transparent parts - is zero *after* normalisation,
the same "nothing" the unconditional of the reference is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..errors import IPAdapterError
from .masks import is_blank

SMALLEST_SIDE = 8
LONGEST_RATIO = 64
CHANNELS = (1, 3, 4)
GREY = 0.5  # where there is no picture


class Fit(str, Enum):
    """How a picture that is not square becomes the encoder's square."""

    CROP = "crop"
    PAD = "pad"
    STRETCH = "stretch"


@dataclass(frozen=True)
class PixelFormat:
    """What an encoder expects: a square of `size` pixels, normalised by channel."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def prepare_pixels(image: Tensor, mask: Tensor | None, fit: Fit, form: PixelFormat) -> Tensor:
    """Pictures (N, H, W, 1 | 3 | 4) in 0 … 1 to normalised pixels (N, 3, size, size).

    `mask` (1 or N, h, w) and an alpha channel say what of the picture counts. Raises IPAdapterError for pictures and
    masks that cannot be read so.
    """
    refuse_unusable(image)
    pixels = image.movedim(-1, 1).float()  # (N, channels, H, W)
    counts = counting_part(pixels, mask)
    normalised = normalise(resize_to_fit(colour_channels(pixels), fit, form.size), form)
    if counts is not None:
        normalised = normalised * refuse_nothing(resize_to_fit(counts, fit, form.size))
    return letterbox(normalised, form.size)


def colour_channels(pixels: Tensor) -> Tensor:
    """(N, 1 | 3 | 4, H, W) to (N, 3, H, W)."""
    return pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels[:, :3]


def refuse_unusable(image: Tensor) -> None:
    """Refuse what is not a picture, in a sentence."""
    if image.ndim != 4 or image.shape[0] == 0 or image.shape[-1] not in CHANNELS:
        raise IPAdapterError(
            f"image has shape {list(image.shape)}, where [images, height, width, 3] is needed (grey and RGBA are read "
            "too)."
        )
    height, width = image.shape[1:3]
    short, long = sorted((height, width))
    if short < SMALLEST_SIDE or long > LONGEST_RATIO * short:
        raise IPAdapterError(
            f"image is {width}×{height} pixels, which says too little about a picture: each side must be at least "
            f"{SMALLEST_SIDE} pixels and neither more than {LONGEST_RATIO} times the other."
        )
    refuse_not_finite("image", image)


def refuse_not_finite(what: str, numbers: Tensor) -> None:
    """Refuse NaN and infinity; the two extremes show them without a copy of a huge picture."""
    if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(numbers)):
        raise IPAdapterError(f"{what} holds NaN or infinite numbers: look at the node that made it.")


def refuse_nothing(counts: Tensor) -> Tensor:
    """The parts that count (N, 1, h, w) after fitting, refused where a picture has none left."""
    if not bool(counts.flatten(1).any(dim=1).all()):
        raise IPAdapterError(
            "mask or transparency leaves nothing of the reference image within the encoder's square: paint more of it, "
            "or set fit to pad or stretch."
        )
    return counts


def counting_part(pixels: Tensor, mask: Tensor | None) -> Tensor | None:
    """The parts that count, (N, 1, H, W) in 0 … 1, or None where all do."""
    alpha = pixels[:, 3:4] if pixels.shape[1] == 4 else None
    if mask is None:
        return alpha
    resized = fit_mask(mask, pixels.shape[0], (pixels.shape[2], pixels.shape[3]))
    return resized if alpha is None else resized * alpha


def fit_mask(mask: Tensor, images: int, size: tuple[int, int]) -> Tensor:
    """A mask (1 or N, h, w) at the pictures' size, (1 or N, 1, H, W)."""
    if mask.ndim != 3 or mask.shape[0] not in (1, images):
        fitting = " or ".join(f"[{count}, height, width]" for count in sorted({1, images}))
        raise IPAdapterError(f"mask has shape {list(mask.shape)} for {images} image(s), where {fitting} is needed.")
    if is_blank(mask):
        raise IPAdapterError("mask is empty: nothing of the reference image would count; paint what should.")
    refuse_not_finite("mask", mask)
    return interpolate(mask.float().unsqueeze(1), size=size, mode="bilinear", antialias=True).clamp(0, 1)


def crop_size(height: int, width: int, size: int) -> tuple[int, int]:
    """The short side becomes `size`."""
    scale = size / min(height, width)
    return round(scale * height), round(scale * width)


def pad_size(height: int, width: int, size: int) -> tuple[int, int]:
    """The long side becomes `size`."""
    scale = size / max(height, width)
    return max(1, round(scale * height)), max(1, round(scale * width))


def stretch_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Both sides become `size`."""
    return size, size


TARGET_SIZE: dict[Fit, Callable[[int, int, int], tuple[int, int]]] = {
    Fit.CROP: crop_size,
    Fit.PAD: pad_size,
    Fit.STRETCH: stretch_size,
}


def resize_to_fit(x: Tensor, fit: Fit, size: int) -> Tensor:
    """(N, c, H, W) to at most `size` a side after the centre crop, rounded to 8 bits in 0 … 1."""
    height, width = x.shape[2:]
    if (height, width) != (size, size):
        x = interpolate(x, size=TARGET_SIZE[fit](height, width, size), mode="bicubic", antialias=True)
    top, left = max(0, (x.shape[2] - size) // 2), max(0, (x.shape[3] - size) // 2)
    return (255.0 * x[:, :, top : top + size, left : left + size]).clip(0, 255).round() / 255.0


def normalise(x: Tensor, form: PixelFormat) -> Tensor:
    """By channel: (x - mean) / std."""
    mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device).view(3, 1, 1) for values in (form.mean, form.std))
    return (x - mean) / std


def letterbox(x: Tensor, size: int) -> Tensor:
    """Zeros around what is smaller than the square."""
    height, width = x.shape[2:]
    top, left = (size - height) // 2, (size - width) // 2
    return pad(x, (left, size - width - left, top, size - height - top))


def zero_pixels(form: PixelFormat) -> Tensor:
    """Zeros in place of normalised pixels: the reference's "no image", (1, 3, size, size)."""
    return torch.zeros(1, 3, form.size, form.size)


def black_picture(form: PixelFormat) -> Tensor:
    """A black picture's normalised pixels, (1, 3, size, size)."""
    return normalise(torch.zeros(1, 3, form.size, form.size), form)
