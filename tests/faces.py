"""Pictures with what the stand-in detector takes for faces: discs of one redness, with eyes and a mouth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from tools.environment import LAYOUT
from tools.face_standins import FACE_POINTS, SKIN
from tools.standins import SETS, make

PACK_FOLDER = LAYOUT.models / "insightface"


def make_pack() -> None:
    """The stand-in pack, where it is not there yet."""
    list(make([one for one in SETS["sd15"] if "insightface" in one.path], LAYOUT.models, LAYOUT.host))


@dataclass(frozen=True)
class Disc:
    """A face: its middle and its radius, in pixels."""

    x: float
    y: float
    radius: float
    eyes: tuple[int, int, int] = (SKIN[0], 40, 30)

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius

    @property
    def points(self) -> Tensor:
        return torch.tensor([[self.x + x * self.radius, self.y + y * self.radius] for x, y in FACE_POINTS])


BACKGROUND = (40, 90, 120)


def draw_faces(width: int, height: int, *discs: Disc) -> Tensor:
    """A picture (1, H, W, 3)."""
    return pil_to_tensor(paint_faces(width, height, *discs)).movedim(0, -1).unsqueeze(0).float() / 255


def save_faces(path: Path, width: int, height: int, *discs: Disc) -> None:
    """The same as a file."""
    paint_faces(width, height, *discs).save(path)


def paint_faces(width: int, height: int, *discs: Disc) -> Image.Image:
    image = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for disc in discs:
        draw.ellipse(disc.box, fill=SKIN)
        for x, y in disc.points[[0, 1, 3, 4]].tolist():
            size = disc.radius / 8
            draw.ellipse((x - size, y - size, x + size, y + size), fill=disc.eyes)
    return image
