"""Pictures with faces that the stand-in detector finds, and a model pack that holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tools.standins.faces import SKIN, SPOT_RADIUS, SPOTS, Colour
from tools.standins.formats import write
from tools.standins.listed import STAND_INS
from tools.standins.noise import Noise

PACK_FILES = ("det_10g.onnx", "w600k_r50.onnx")
BACKGROUND: Colour = (40, 60, 50)


@dataclass(frozen=True)
class DrawnFace:
    """A face in pixels of the picture, turned clockwise by so many degrees; `tint` tells one person from another."""

    x: float
    y: float
    radius: float
    turned: float = 0.0
    tint: int = 0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius

    @property
    def keypoints(self) -> Tensor:
        """(5, 2): eyes, nose, corners of the mouth."""
        angle = math.radians(self.turned)
        turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        places = torch.tensor([spot.place for spot in SPOTS])
        return torch.tensor([self.x, self.y]) + self.radius * places @ turn


def draw_faces(height: int, width: int, *faces: DrawnFace, channels: int = 3) -> Tensor:
    """A picture (1, height, width, channels) in 0 … 1."""
    image = torch.tensor(BACKGROUND, dtype=torch.float32).expand(height, width, 3).clone()
    for face in faces:
        draw(image, face)
    opaque = torch.full((height, width, channels - 3), 255.0)
    return torch.cat([image, opaque], dim=-1).unsqueeze(0) / 255


def draw(image: Tensor, face: DrawnFace) -> None:
    """One face, the skin first."""
    skin = [value + change * face.tint for value, change in zip(SKIN, (1, -1, 1), strict=True)]
    dot(image, face.x, face.y, face.radius, skin)
    for spot, (x, y) in zip(SPOTS, face.keypoints.tolist(), strict=True):
        dot(image, x, y, SPOT_RADIUS * face.radius, spot.colour)


def dot(image: Tensor, x: float, y: float, radius: float, colour: Colour | list[int]) -> None:
    """A disc."""
    rows, columns = torch.meshgrid(torch.arange(image.shape[0]), torch.arange(image.shape[1]), indexing="ij")
    image[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = torch.tensor(colour, dtype=torch.float32)


def save_picture(image: Tensor, path: Path) -> None:
    """A picture as a file."""
    Image.fromarray((image[0] * 255).round().byte().numpy()).save(path)


def settings_of(detector: Any) -> dict[str, Any]:
    """What of InsightFace's detector decides what it finds, in any version; not what it keeps to be faster."""
    kept = ("center_cache", "_resolution_session_pool")
    settings = {name: value for name, value in vars(detector).items() if name not in kept}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def write_pack(directory: Path) -> Path:
    """The stand-in pack in a folder of its own."""
    for one in STAND_INS:
        if (name := Path(one.path).name) in PACK_FILES:
            write(directory / name, one.make(Noise.seeded(one.seed)))
    return directory
