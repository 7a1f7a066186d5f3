"""From a stored picture to what the encoders are given.

The VAE's pixels are the reference trainer's: the short side resized to the resolution (bilinear, antialiased), the
centre cropped (`tutorial_train.py`, `MyDataset`); or, with buckets, resized until the nearest one is covered. The
image encoder is given the whole picture, as it is at inference.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ...backbones.unet import UNET
from ...errors import IPAdapterError
from ...images.pixels import refuse_unusable
from ...numbers import shorten
from ...training.buckets import BucketSize, nearest_bucket

SIXTEEN_BITS = 257  # 65535 / 255: what a 16-bit grey is divided by


@dataclass(frozen=True)
class Sizes:
    """What SDXL is told of a picture besides its text: pixels of the original, where the crop begins, and its own."""

    height: int
    width: int
    top: int
    left: int
    target_height: int
    target_width: int


@dataclass(frozen=True)
class TrainingPicture:
    """One training picture."""

    whole: Tensor  # (1, H, W, 3) in 0 … 1, for the image encoder
    pixels: Tensor  # (H', W', 3) in 0 … 1, for the VAE: of a bucket, or (R, R, 3)
    area: Tensor  # (1, H' / 8, W' / 8), how opaque each place of the latent is, in 0 … 1
    sizes: Sizes


def open_training_picture(content: bytes, resolution: int, buckets: bool = False) -> TrainingPicture:
    """Decode a picture and crop it, to a square or its bucket. Raises IPAdapterError for what is unreadable, tiny or
    only a line."""
    image, opacity = decode_image(content)
    whole = to_tensor(image)[None]  # (1, H, W, 3)
    refuse_unusable(whole)
    size = nearest_bucket(image.height, image.width, resolution) if buckets else BucketSize(resolution, resolution)
    cropped, top, left = crop(image, size)
    area = latent_area(crop(opacity, size)[0])
    return TrainingPicture(whole, to_tensor(cropped), area, Sizes(image.height, image.width, top, left, *size))


def latent_area(opacity: Any) -> Tensor:
    """The mean of each latent pixel's square, (1, H / 8, W / 8)."""
    return avg_pool2d(to_tensor(opacity).movedim(-1, 0), UNET.pixels)


def decode_image(content: bytes) -> tuple[Any, Any]:
    """A PIL image in RGB, upright, and how opaque it is, in L."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return to_rgb(upright), opacity_of(upright)
    except UnidentifiedImageError as error:
        raise IPAdapterError("not a readable picture: its format is not known") from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise IPAdapterError(f"not a readable picture ({shorten(str(error))})") from error


def to_rgb(image: Any) -> Any:
    """Any mode as 8-bit RGB; 16-bit grey is scaled, which PIL's own conversion would cut off."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda grey: grey / SIXTEEN_BITS).convert("L")
    return image.convert("RGB")


def opacity_of(image: Any) -> Any:
    """The alpha channel, whatever it is kept as; white where there is none."""
    from PIL import Image

    if image.has_transparency_data:
        return image.convert("RGBA").getchannel("A")
    return Image.new("L", image.size, 255)


def to_tensor(image: Any) -> Tensor:
    """(H, W, bands) in 0 … 1."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1).float() / 255.0  # (H, W, bands)


def crop(image: Any, size: BucketSize) -> tuple[Any, int, int]:
    """The picture made just so large that it covers the size, its centre; and where that begins, in resized pixels."""
    from torchvision.transforms import functional

    resized = functional.resize(image, covering(image, size))
    top, left = round((resized.height - size.height) / 2.0), round((resized.width - size.width) / 2.0)
    return functional.crop(resized, top, left, *size), top, left


def covering(image: Any, size: BucketSize) -> int | list[int]:
    """What a picture is resized to: its short side to a square's, as the reference has it; both to cover a bucket."""
    if size.height == size.width:
        return size.height
    scale = max(size.height / image.height, size.width / image.width)
    return [max(size.height, round(image.height * scale)), max(size.width, round(image.width * scale))]
