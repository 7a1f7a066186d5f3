"""Faces in pictures, found and recognised by InsightFace: which there are, who each is, and a picture of each.

The library, and the object it calls FaceAnalysis, come from whoever calls; it is imported only where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from .errors import IPAdapterError

# Sides of the square that a detector looks at, until one shows a face. Large faces are found at small ones.
SIZES = (640, 256, 128)
BORDER = 0.5  # of the picture's sides, added all around where no size shows a face: close-ups need it
CROP = 224  # side of a face's picture, of the reference's too
GRIDS = (112, 128)  # sides of which a face's picture must be a multiple: alignments are defined on them

Analysis = Any  # insightface.app.FaceAnalysis
Pixels = np.ndarray  # (H, W, 3), blue first, 0 ... 255, as the library takes pictures


@dataclass(frozen=True)
class Face:
    """A face that was found: its box (left, top, right, bottom) and five points, in pixels, and who it is."""

    box: np.ndarray  # (4,)
    keypoints: np.ndarray  # (5, 2)
    embedding: Tensor  # (512,), not normalised

    @property
    def area(self) -> float:
        """In pixels."""
        left, top, right, bottom = self.box
        return float((right - left) * (bottom - top))


def find_faces(analysis: Analysis, picture: Tensor) -> tuple[Face, ...]:
    """All faces of a picture (H, W, 3 or 4), the largest first."""
    for pixels, size, offset in views(picture):
        boxes, keypoints = analysis.det_model.detect(pixels, input_size=(size, size))
        if len(boxes):
            found = [
                recognise(analysis, pixels, box, points, offset) for box, points in zip(boxes, keypoints, strict=True)
            ]
            return tuple(sorted(found, key=lambda face: -face.area))
    return ()


def views(picture: Tensor) -> Iterator[tuple[Pixels, int, np.ndarray]]:
    """What a detector is shown, at which size, and where the picture begins in it (x, y)."""
    pixels = to_pixels(picture)
    yield from ((pixels, size, np.zeros(2, np.float32)) for size in SIZES)
    height, width = (int(side * BORDER) for side in picture.shape[:2])
    framed = pad(picture, (0, 0, width, width, height, height))
    yield to_pixels(framed), SIZES[0], np.array([width, height], np.float32)


def to_pixels(picture: Tensor) -> Pixels:
    """(H, W, 3 or 4) in 0 ... 1 to the library's pixels. What is transparent is seen as it is."""
    return np.ascontiguousarray((picture[..., :3].float().cpu().clamp(0, 1) * 255).round().byte().flip(-1).numpy())


def from_pixels(pixels: Pixels) -> Tensor:
    """Back to (H, W, 3) in 0 ... 1, red first."""
    return torch.from_numpy(pixels[..., ::-1].astype(np.float32)) / 255


def recognise(analysis: Analysis, pixels: Pixels, box: np.ndarray, points: np.ndarray, offset: np.ndarray) -> Face:
    """Who a face is. Its place is told in the picture, without what was added around it."""
    from insightface.app.common import Face as Found

    embedding = analysis.models["recognition"].get(pixels, Found(bbox=box[:4], kps=points, det_score=box[4]))
    return Face(box[:4] - np.tile(offset, 2), points - offset, torch.from_numpy(np.array(embedding)).float())


class Crop(str, Enum):
    """What of a picture is the picture of a face."""

    ALIGNED = "aligned"  # turned and scaled so that eyes and mouth are where they always are (the reference's)
    SQUARE = "square"  # the square around its box (Kolors')


def crop_face(picture: Tensor, face: Face, side: int, crop: Crop = Crop.ALIGNED) -> Tensor:
    """A square picture (side, side, 3) of a face."""
    return CROPS[crop](picture, face, side)


def crop_aligned(picture: Tensor, face: Face, side: int) -> Tensor:
    """By the library's own alignment."""
    from insightface.utils import face_align

    return from_pixels(face_align.norm_crop(to_pixels(picture), landmark=face.keypoints, image_size=side))


def crop_square(picture: Tensor, face: Face, side: int) -> Tensor:
    """As large as the box's longer side; what lies outside of the picture is black."""
    left, top, right, bottom = face.box
    radius = max(right - left, bottom - top) / 2
    x, y = (left + right) / 2 - radius, (top + bottom) / 2 - radius
    box = (int(x), int(y), int(x + 2 * radius), int(y + 2 * radius))
    cut = Image.fromarray(to_pixels(picture)[..., ::-1]).crop(box).resize((side, side))
    return from_pixels(np.asarray(cut)[..., ::-1])


CROPS: dict[Crop, Callable[[Tensor, Face, int], Tensor]] = {Crop.ALIGNED: crop_aligned, Crop.SQUARE: crop_square}


def crop_side(encoder: int) -> int:
    """The side of faces' pictures for an image encoder of that many pixels."""
    return encoder if any(encoder % grid == 0 for grid in GRIDS) else CROP


def choose_face(faces: tuple[Face, ...], rank: int, which: str, picture: Tensor) -> Face:
    """One face by size, 0 the largest. Raises IPAdapterError where there are not so many."""
    if rank < len(faces):
        return faces[rank]
    height, width = picture.shape[:2]
    if not faces:
        raise IPAdapterError(
            f"there is no face to be found in {which} ({width}×{height} pixels): give a picture in which it is large, "
            "seen from the front and not covered."
        )
    raise IPAdapterError(
        f"{which} has {len(faces)} face(s), so none of rank {rank}: set face to at most {len(faces) - 1}, where 0 is "
        "the largest."
    )
