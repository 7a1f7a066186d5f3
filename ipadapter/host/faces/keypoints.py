"""Pictures to drawings of their faces' key points, for InstantID's ControlNet."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ...faces.keypoints import DrawingSize, draw_face
from ...faces.reading import FaceAnalysis, PlaceInBatch, find_face, require_analysis
from ...images.pixels import refuse_unusable


def draw_faces(analysis: object, image: Tensor, rank: int = 0, size: DrawingSize | None = None) -> Tensor:
    """The key points of one face of each picture (N, H, W, C), (N, H', W', 3) in 0 … 1: `rank` 0 is the largest.

    Raises IPAdapterError where a picture has no such face.
    """
    refuse_unusable(image)
    found, wanted = require_analysis(analysis), size or DrawingSize()
    progress = comfy.utils.ProgressBar(len(image))
    height, width = image.shape[1:3]
    drawn = []
    for index, picture in enumerate(image):
        comfy.model_management.throw_exception_if_processing_interrupted()
        drawn.append(draw_one(found, picture, rank, wanted, PlaceInBatch(index + 1, len(image), width, height)))
        progress.update(1)
    return torch.stack(drawn).to(comfy.model_management.intermediate_device())


def draw_one(analysis: FaceAnalysis, image: Tensor, rank: int, size: DrawingSize, place: PlaceInBatch) -> Tensor:
    """That of a picture (H, W, C)."""
    return draw_face(find_face(analysis, image, rank, place), (place.width, place.height), size)
