"""A face's five key points, drawn as InstantID's ControlNet was trained to read them.

Source: InstantX-research/InstantID `pipeline_stable_diffusion_xl_instantid.py`, `draw_kps`. Dots and limbs have a size
in pixels, whatever the picture's, so a drawing is made in the size of the picture that is to be sampled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import IPAdapterError
from .reading import Face

Canvas = NDArray[np.uint8]  # (H, W, 3), RGB
Points = NDArray[np.float32]  # (5, 2): eyes, nose, corners of the mouth

POINT_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))  # RGB, of each point
NOSE = 2  # from which a limb goes to each other point
LIMB_RADIUS, DOT_RADIUS = 4, 10  # pixels
LIMB_LIGHT = 0.6  # of its point's colour


@dataclass(frozen=True)
class DrawingSize:
    """Width and height in pixels; 0 follows the picture's."""

    width: int = 0
    height: int = 0

    def of(self, width: int, height: int) -> tuple[int, int]:
        """What is drawn of a picture; one side alone keeps its shape."""
        if self.width and self.height:
            return self.width, self.height
        scale = self.width / width or self.height / height or 1.0
        return max(round(width * scale), 1), max(round(height * scale), 1)


def place_keypoints(points: Points, picture: tuple[int, int], drawing: tuple[int, int]) -> Points:
    """Points of a picture (width, height) where they are once it is fitted into a drawing, whole and in its middle."""
    if picture == drawing:
        return points
    scale = min(into / of for into, of in zip(drawing, picture, strict=True))
    borders = [(into - of * scale) / 2 for into, of in zip(drawing, picture, strict=True)]
    placed: Points = (points * scale + np.asarray(borders)).astype(np.float32)
    return placed


def draw_face(face: Face, picture: tuple[int, int], size: DrawingSize) -> Tensor:
    """A face of a picture (width, height) as points on black, (H, W, 3) in 0 … 1."""
    width, height = size.of(*picture)
    points = place_keypoints(face.keypoints, picture, (width, height))
    return torch.from_numpy(draw_keypoints(points, width, height)).float() / 255.0


def draw_keypoints(points: Points, width: int, height: int) -> Canvas:
    """Limbs, and the dots over them. Raises IPAdapterError where nothing of them would be in the drawing."""
    import cv2  # InsightFace itself needs it

    refuse_empty_drawing(points, width, height)
    canvas = np.zeros((height, width, 3), np.uint8)
    for index in (index for index in range(len(points)) if index != NOSE):
        cv2.fillConvexPoly(canvas, limb(points[index], points[NOSE]), dimmed(POINT_COLOURS[index]))
    for point, colour in zip(points, POINT_COLOURS, strict=True):
        cv2.circle(canvas, (int(point[0]), int(point[1])), DOT_RADIUS, colour, -1)
    return canvas


def limb(point: NDArray[np.float32], nose: NDArray[np.float32]) -> NDArray[np.int32]:
    """The outline of an ellipse between two points, (N, 2)."""
    import cv2

    (x, y), middle = point - nose, (point + nose) / 2
    axes = (int(math.hypot(x, y) / 2), LIMB_RADIUS)
    turned = int(math.degrees(math.atan2(y, x)))
    return np.asarray(cv2.ellipse2Poly((int(middle[0]), int(middle[1])), axes, turned, 0, 360, 1), np.int32)


def dimmed(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """A limb's colour."""
    red, green, blue = (int(value * LIMB_LIGHT) for value in colour)
    return red, green, blue


def refuse_empty_drawing(points: Points, width: int, height: int) -> None:
    """Refuse a face that a detector has guessed beyond the picture: the ControlNet would see nothing."""
    inside = (points >= 0).all(-1) & (points < (width, height)).all(-1)
    if not inside.any():
        raise IPAdapterError(
            f"the key points of the face lie outside of the drawing ({width}×{height} pixels): give a picture in which "
            "the face is not cut off."
        )
