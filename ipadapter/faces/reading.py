"""Faces in pictures, through InsightFace: where they are, what tells them apart, and each cut out upright.

What is passed on is the recognition model's output as it is, and the picture it is given is what InsightFace's own
`FaceAnalysis.get` gives it, so both are equal to the bit. Crops are RGB, as the adapters were trained on.

A detector knows faces up to a size of about its input, so one that fills the picture is often missed. Where nothing is
found the picture is looked at again, smaller each time and at last with a border around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import IPAdapterError
from ..prompts.prompt import FACE_WIDTH

Picture = NDArray[np.uint8]  # (H, W, 3), BGR
WidthHeight = tuple[int, int]  # width and height

CROP = 224  # pixels a side, as the reference crops
ALIGNED_SIDES = (112, 128)  # of which a crop has to be a multiple
SIDES = (640, 448, 320, 224, 160)  # that the detector is given, each about 0.7 of the one before
BORDER = 0.5  # of the longer side


class NoFaceError(IPAdapterError):
    """A picture without the face that is asked for."""


class FaceAnalysis(Protocol):
    """What is read of InsightFace's `FaceAnalysis`, whoever made it."""

    det_model: Any
    models: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Face:
    """A face that was found, in pixels of the picture."""

    box: NDArray[np.float32]  # left, top, right, bottom
    keypoints: NDArray[np.float32]  # (5, 2): eyes, nose, corners of the mouth
    score: float

    @property
    def area(self) -> float:
        """Of the box."""
        left, top, right, bottom = self.box
        return float((right - left) * (bottom - top))


@dataclass(frozen=True)
class ReadFace:
    """What of a picture a FaceID adapter is given."""

    embedding: Tensor  # (512,), not normalised
    crop: Tensor  # (S, S, 3) in 0 … 1, RGB


class FaceCrop(str, Enum):
    """What of a picture is the picture of a face."""

    ALIGNED = "aligned"  # turned and scaled so that eyes and mouth are where they always are, as the reference does
    SQUARE = "square"  # the square around its box, as Kolors' own code does


@dataclass(frozen=True)
class PlaceInBatch:
    """Which picture of a batch, for the user."""

    number: int  # from 1
    of: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"image {self.number} of {self.of} ({self.width}×{self.height} pixels)"


def require_analysis(given: object) -> FaceAnalysis:
    """What a socket gave. Raises IPAdapterError where it is no FaceAnalysis with both models."""
    if given is None:
        raise IPAdapterError("insightface is empty: connect Load InsightFace.")
    models = getattr(given, "models", None)
    if not isinstance(models, Mapping) or not hasattr(getattr(given, "det_model", None), "detect"):
        raise IPAdapterError(
            f"insightface is a {type(given).__name__}, where InsightFace's FaceAnalysis is needed: connect Load "
            "InsightFace."
        )
    if "recognition" not in models:
        raise IPAdapterError(
            f"insightface has no recognition model ({', '.join(models) or 'nothing'}): connect Load InsightFace, or "
            "load it with its recognition module."
        )
    return cast(FaceAnalysis, given)


@dataclass(frozen=True)
class FaceCut:
    """How faces are cut out."""

    side: int = CROP  # pixels
    crop: FaceCrop = FaceCrop.ALIGNED


def read_face(analysis: FaceAnalysis, image: Tensor, rank: int, cut: FaceCut, place: PlaceInBatch) -> ReadFace:
    """One face of a picture (H, W, C): `rank` 0 is the largest. Raises IPAdapterError where there is none."""
    picture = picture_of(image)
    face = choose_face(find_faces(analysis.det_model, picture), rank, place)
    return ReadFace(embed_face(analysis, picture, face), FACE_CROPS[cut.crop](picture, face, cut.side))


def find_face(analysis: FaceAnalysis, image: Tensor, rank: int, place: PlaceInBatch) -> Face:
    """Where one face of a picture (H, W, C) is. Raises IPAdapterError where there is none."""
    return choose_face(find_faces(analysis.det_model, picture_of(image)), rank, place)


def picture_of(image: Tensor) -> Picture:
    """(H, W, 1 | 3 | 4) in 0 … 1 as InsightFace reads it. What is transparent is grey, the detector's zero."""
    colour = image[..., :3].float().expand(-1, -1, 3)
    if image.shape[-1] == 4:
        alpha = image[..., 3:].float()
        colour = colour * alpha + 0.5 * (1 - alpha)
    rgb = (255.0 * colour).clip(0, 255).round().to("cpu", torch.uint8).numpy()
    return np.ascontiguousarray(rgb[..., ::-1])


# Finding


@dataclass(frozen=True)
class DetectorLook:
    """One way to show the detector a picture: scaled into `size`, with so much of its longer side around it."""

    size: WidthHeight
    border: float = 0.0


def find_faces(detector: Any, picture: Picture) -> tuple[Face, ...]:
    """All faces that the first look that finds any finds, the largest first."""
    looks = (look_for_faces(detector, picture, look) for look in looks_of(detector))
    return next((faces for faces in looks if faces), ())


def looks_of(detector: Any) -> tuple[DetectorLook, ...]:
    """From the usual one to the last resort; a detector of one size looks without and with a border."""
    only = fixed_size(detector)
    sizes = [(side, side) for side in SIDES] if only is None else [only]
    return (*map(DetectorLook, sizes), DetectorLook(sizes[0], BORDER))


def fixed_size(detector: Any) -> WidthHeight | None:
    """The only size a detector takes, or None where it takes any. Older InsightFace keeps the shape alone."""
    if hasattr(detector, "static_input_size"):
        return cast("WidthHeight | None", detector.static_input_size)
    height, width = (tuple(getattr(detector, "input_shape", ())) + (None,) * 4)[2:4]
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def look_for_faces(detector: Any, picture: Picture, look: DetectorLook) -> tuple[Face, ...]:
    """The faces of one look, the largest first. The detector is left as it was: other nodes may have it too."""
    border = round(look.border * max(picture.shape[:2]))
    boxes, keypoints = detector.detect(add_border(picture, border), input_size=look.size)
    if keypoints is None:
        raise IPAdapterError("insightface has a detector without keypoints: use the model pack buffalo_l.")
    faces = [
        Face(box[:4] - border, points - border, float(box[4])) for box, points in zip(boxes, keypoints, strict=True)
    ]
    return by_size(faces)


def by_size(faces: Sequence[Face]) -> tuple[Face, ...]:
    """The largest first."""
    return tuple(sorted(faces, key=lambda face: -face.area))


def add_border(picture: Picture, border: int) -> Picture:
    """Black on every side."""
    return np.pad(picture, ((border, border), (border, border), (0, 0))) if border else picture


def choose_face(faces: Sequence[Face], rank: int, place: PlaceInBatch) -> Face:
    """A face by size. Raises IPAdapterError where there are too few."""
    if not faces:
        raise NoFaceError(
            f"no face was found in {place}: give a picture in which the face is sharp, turned to the camera and not "
            "cut off."
        )
    if rank >= len(faces):
        raise NoFaceError(
            f"face is {rank}, counted from 0, but {len(faces)} face(s) were found in {place}: set face to "
            f"{len(faces) - 1} or less, or give another picture."
        )
    return faces[rank]


# Reading


def embed_face(analysis: FaceAnalysis, picture: Picture, face: Face) -> Tensor:
    """The recognition model's output, (512,). Raises IPAdapterError where no adapter could read it."""
    from insightface.app.common import Face as InsightFace

    found = InsightFace(bbox=face.box, kps=face.keypoints, det_score=face.score)
    raw = np.asarray(analysis.models["recognition"].get(picture, found), dtype=np.float32)
    embedding = torch.from_numpy(raw.reshape(-1).copy())
    if embedding.shape != (FACE_WIDTH,):
        raise IPAdapterError(
            f"insightface made a face embedding {len(embedding)} wide, and FaceID adapters read {FACE_WIDTH}: use the "
            "model pack buffalo_l."
        )
    if not bool(torch.isfinite(embedding).all()):
        raise IPAdapterError("insightface made NaN or infinite numbers of a face: its files are damaged.")
    return embedding


def crop_aligned(picture: Picture, face: Face, side: int) -> Tensor:
    """The face upright and in the middle, (side, side, 3) in 0 … 1, RGB."""
    from insightface.utils.face_align import norm_crop

    return rgb_of(norm_crop(picture, landmark=face.keypoints, image_size=side))


def crop_square(picture: Picture, face: Face, side: int) -> Tensor:
    """The same as it lies in the picture; black where that ends."""
    left, top, right, bottom = map(float, face.box)
    x, y, radius = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2
    box = (int(x - radius), int(y - radius), int(x + radius), int(y + radius))
    return rgb_of(np.asarray(Image.fromarray(picture).crop(box).resize((side, side))))


def rgb_of(picture: Picture) -> Tensor:
    """(H, W, 3) in 0 … 1, RGB."""
    return torch.from_numpy(picture[..., ::-1].copy()).float() / 255.0


FACE_CROPS: dict[FaceCrop, Callable[[Picture, Face, int], Tensor]] = {
    FaceCrop.ALIGNED: crop_aligned,
    FaceCrop.SQUARE: crop_square,
}


def face_crop_size(pixels: int) -> int:
    """The side of crops for an encoder of so many pixels: the same where faces can be aligned to it."""
    return pixels if any(pixels % side == 0 for side in ALIGNED_SIDES) else CROP
