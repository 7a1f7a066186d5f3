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
from torch.nn.functional import avg_pool2d

from ...backbones.unet import UNET
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
    area: Tensor  # (1, R / 8, R / 8), how opaque each place of the latent is, in 0 … 1
    sizes: Sizes


def open_training_picture(content: bytes, resolution: int) -> TrainingPicture:
    """Decode and crop a picture. Raises IPAdapterError for what is unreadable, tiny or only a line."""
    image, opacity = decode_image(content)
    whole = to_tensor(image)[None]  # (1, H, W, 3)
    refuse_unusable(whole)
    cropped, top, left = crop(image, resolution)
    area = latent_area(crop(opacity, resolution)[0])
    return TrainingPicture(whole, to_tensor(cropped), area, Sizes(image.height, image.width, top, left))


def latent_area(opacity: Any) -> Tensor:
    """The mean of each latent pixel's square, (1, R / 8, R / 8)."""
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


def crop(image: Any, resolution: int) -> tuple[Any, int, int]:
    """Short side to the resolution, centre of the long one; and where the crop begins, in resized pixels."""
    from torchvision.transforms import functional

    resized = functional.resize(image, resolution)
    top, left = (round((side - resolution) / 2.0) for side in (resized.height, resized.width))
    return functional.crop(resized, top, left, resolution, resolution), top, left
