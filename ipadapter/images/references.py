"""Reference images made ready for an encoder: cropped to a square or to a mask, resized, sharpened.

Sharpening is AMD's FidelityFX CAS (contrast-adaptive sharpening): with mn and mx the sums of the smallest and the
largest value of a pixel's cross and of its 3 x 3 neighbourhood, amp = √(min(mn, 2 - mx) / mx) and
w = -amp · ((1 - a) / 8 + a / 5), a pixel becomes (w · its four neighbours + itself) / (1 + 4 w).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d, pad

from ..errors import IPAdapterError
from .boxes import Box
from .pixels import GREY, SMALLEST_SIDE, colour_channels, counting_part, crop_size, refuse_unusable


class ReferenceCrop(str, Enum):
    """What is kept of a picture."""

    CENTER = "center"
    TOP = "top"
    BOTTOM = "bottom"
    LEFT = "left"
    RIGHT = "right"
    TO_MASK = "to mask"
    PAD = "pad"
    NONE = "none"


@dataclass(frozen=True)
class Reference:
    """Reference images and what of them counts."""

    image: Tensor  # (N, H, W, 3) in 0 … 1
    mask: Tensor  # (N, H, W) in 0 … 1


def prepare_reference(
    image: Tensor, mask: Tensor | None, crop: ReferenceCrop, size: int = 0, sharpening: float = 0.0, margin: float = 0.0
) -> Reference:
    """Pictures (N, H, W, 1 | 3 | 4) and their mask (1 or N, h, w), cropped, resized and sharpened (0 … 1).

    `size` is the square's side, or the short side of what is not cropped; 0 keeps the size. `margin` is what is left
    around a mask, as a part of it. What is transparent or added around does not count. Raises IPAdapterError for
    pictures and masks that cannot be read so.
    """
    refuse_unusable(image)
    pixels = image.movedim(-1, 1).float()  # (N, c, H, W)
    colour = colour_channels(pixels)
    marked = counting_part(pixels, mask)
    counts = torch.ones_like(colour[:, :1]) if marked is None else marked.expand(len(colour), -1, -1, -1)
    windows = windows_of(colour, marked if marked is None else counts, crop, size, margin)
    target = (windows[0].height, windows[0].width) if size == 0 else target_size(windows[0], crop, size)
    taken = [take(colour, counts, index, window, target) for index, window in enumerate(windows)]
    cut, kept = (torch.cat(tensors) for tensors in zip(*taken, strict=True))
    sharp = sharpen(cut, sharpening) if sharpening > 0 else cut
    return Reference(sharp.movedim(1, -1), kept[:, 0])


def target_size(window: Box, crop: ReferenceCrop, size: int) -> tuple[int, int]:
    """A square, or the picture's own shape where nothing is cropped."""
    return crop_size(window.height, window.width, size) if crop is ReferenceCrop.NONE else (size, size)


def take(colour: Tensor, counts: Tensor, index: int, window: Box, target: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """One picture's window and its mask at their size, (1, 3, h, w) and (1, 1, h, w)."""
    rows = slice(index, index + 1)
    return (
        resize_to(window.cut(colour[rows], GREY), target, "bicubic"),
        resize_to(window.cut(counts[rows], 0.0), target, "bilinear"),
    )


def resize_to(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """(N, c, H, W) to a size, in 0 … 1."""
    resized = x if tuple(x.shape[2:]) == size else interpolate(x, size=size, mode=mode, antialias=True)
    return resized.clamp(0, 1)


def windows_of(colour: Tensor, marked: Tensor | None, crop: ReferenceCrop, size: int, margin: float) -> list[Box]:
    """What is kept of each picture (N, 3, H, W)."""
    height, width = colour.shape[2:]
    if crop is not ReferenceCrop.TO_MASK:
        return [WINDOWS[crop](height, width)] * len(colour)
    if marked is None:
        raise IPAdapterError(
            "crop is 'to mask', but there is no mask: connect one, give an image with transparency, or choose another "
            "crop."
        )
    boxes = [marked_box(one, index, len(marked)) for index, one in enumerate(marked[:, 0])]
    sides = [side_around(box, margin, max(height, width)) for box in boxes]
    if size == 0:  # one batch has one size
        sides = [max(sides)] * len(sides)
    return [square_around(box, side, height, width) for box, side in zip(boxes, sides, strict=True)]


def centered(length: int, side: int) -> int:
    """Where a piece begins that lies in the middle."""
    return (length - side) // 2


def square_at(top: float, left: float) -> Callable[[int, int], Box]:
    """The largest square within a picture, at a place in 0 (top, left) … 1 (bottom, right)."""

    def window(height: int, width: int) -> Box:
        side = min(height, width)
        return Box(int(top * (height - side)), int(left * (width - side)), side, side)

    return window


def square_outside(height: int, width: int) -> Box:
    """The smallest square around a picture."""
    side = max(height, width)
    return Box(centered(height, side), centered(width, side), side, side)


WINDOWS: dict[ReferenceCrop, Callable[[int, int], Box]] = {
    ReferenceCrop.CENTER: square_at(0.5, 0.5),
    ReferenceCrop.TOP: square_at(0.0, 0.5),
    ReferenceCrop.BOTTOM: square_at(1.0, 0.5),
    ReferenceCrop.LEFT: square_at(0.5, 0.0),
    ReferenceCrop.RIGHT: square_at(0.5, 1.0),
    ReferenceCrop.PAD: square_outside,
    ReferenceCrop.NONE: lambda height, width: Box(0, 0, height, width),
}


def marked_box(mask: Tensor, index: int, masks: int) -> Box:
    """The rectangle around what is more than half as bright as a mask (H, W) gets."""
    if not bool((mask > 0).any()):
        raise IPAdapterError(
            f"mask {index + 1} of {masks} marks nothing of its reference image, so there is nothing to crop to: paint "
            "more of it, or choose another crop."
        )
    bright = mask > 0.5 * mask.max()
    rows, columns = (torch.nonzero(bright.any(dim=dim)).flatten().tolist() for dim in (1, 0))
    return Box(rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)


def side_around(box: Box, margin: float, longest: int) -> int:
    """The side of a square around a box, with its margin, at most the picture's long side."""
    side = min(longest, round(max(box.height, box.width) * (1 + 2 * margin)))
    if side < SMALLEST_SIDE:
        raise IPAdapterError(
            f"mask marks {box.width}×{box.height} pixels of the reference image, too few to crop to: mark at least "
            f"{SMALLEST_SIDE} in one direction, or raise margin."
        )
    return side


def square_around(box: Box, side: int, height: int, width: int) -> Box:
    """A square with a box in its middle, moved into the picture as far as it fits."""
    top = move_inside(box.top + (box.height - side) // 2, side, height)
    return Box(top, move_inside(box.left + (box.width - side) // 2, side, width), side, side)


def move_inside(start: int, side: int, length: int) -> int:
    """Where a piece of a line begins that should begin at `start`."""
    return min(max(start, 0), length - side) if side <= length else centered(length, side)


def sharpen(x: Tensor, amount: float) -> Tensor:
    """Contrast-adaptive sharpening of (N, c, H, W) in 0 … 1 by 0 … 1."""
    edged = pad(x, (1, 1, 1, 1), mode="replicate")
    height, width = x.shape[2:]
    shifts = ((0, 1), (1, 0), (1, 2), (2, 1))
    cross = torch.stack([edged[..., top : top + height, left : left + width] for top, left in shifts])
    least = torch.minimum(cross.amin(dim=0), x) - max_pool2d(-edged, 3, stride=1)
    most = torch.maximum(cross.amax(dim=0), x) + max_pool2d(edged, 3, stride=1)
    strength = (torch.minimum(least, 2 - most) / most.clamp(min=1e-6)).clamp(0, 1).sqrt()
    weight = -strength * ((1 - amount) / 8 + amount / 5)
    return ((weight * cross.sum(dim=0) + x) / (1 + 4 * weight)).clamp(0, 1)
