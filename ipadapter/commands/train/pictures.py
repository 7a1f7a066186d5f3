"""From a stored picture to what the encoders are given.

The VAE's pixels are the reference trainer's: the short side resized to the resolution (bilinear, antialiased), the
centre cropped (`tutorial_train.py`, `MyDataset`). The image encoder is given the whole picture, as it is at inference.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import IPAdapterError
from ...images.pixels import refuse_unusable
from ...numbers import shorten

SIXTEEN_BITS = 257  # 65535 / 255: what a 16-bit grey is divided by


@dataclass(frozen=True)
class Sizes:
    """What SDXL is told of a picture besides its text: pixels of the original, and where the crop begins."""

    height: int
    width: int
    top: int
    left: int


@dataclass(frozen=True)
class TrainingPicture:
    """One training picture."""

    whole: Tensor  # (1, H, W, 3) in 0 … 1, for the image encoder
    pixels: Tensor  # (R, R, 3) in 0 … 1, for the VAE
    sizes: Sizes


def open_training_picture(content: bytes, resolution: int) -> TrainingPicture:
    """Decode and crop a picture. Raises IPAdapterError for what is unreadable, tiny or only a line."""
    image = decode_image(content)
    whole = to_tensor(image)[None]  # (1, H, W, 3)
    refuse_unusable(whole)
    cropped, top, left = crop(image, resolution)
    return TrainingPicture(whole, to_tensor(cropped), Sizes(image.height, image.width, top, left))


def decode_image(content: bytes) -> Any:
    """A PIL image in RGB, upright."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise IPAdapterError("not a readable picture: its format is not known") from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise IPAdapterError(f"not a readable picture ({shorten(str(error))})") from error


def to_rgb(image: Any) -> Any:
    """Any mode as 8-bit RGB; 16-bit grey is scaled, which PIL's own conversion would cut off."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda grey: grey / SIXTEEN_BITS).convert("L")
    return image.convert("RGB")


def to_tensor(image: Any) -> Tensor:
    """(H, W, 3) in 0 … 1."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, 3).float() / 255.0  # (H, W, 3)


def crop(image: Any, resolution: int) -> tuple[Any, int, int]:
    """Short side to the resolution, centre of the long one; and where the crop begins, in resized pixels."""
    from torchvision.transforms import functional

    resized = functional.resize(image, resolution)
    top, left = (round((side - resolution) / 2.0) for side in (resized.height, resized.width))
    return functional.crop(resized, top, left, resolution, resolution), top, left
