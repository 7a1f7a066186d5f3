"""A face's key points as InstantID's ControlNet reads them: ellipses from the nose, and dots over them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pack.ipadapter.faces.keypoints import POINT_COLOURS, DrawingSize, draw_face, draw_keypoints, place_keypoints
from pack.ipadapter.faces.reading import Face

from tests.refusals import refusal

POINTS = np.array([[60.7, 70.2], [150.9, 60.4], [100.5, 120.8], [70.1, 170.6], [140.3, 165.9]], np.float32)
WIDTH, HEIGHT = 200, 240
EDGE = 2.5  # pixels: middles, axes and angles are cut to whole numbers


def face_at(points=POINTS) -> Face:
    return Face(np.array([30, 30, 170, 200], np.float32), points, 1.0)


def ellipse(point, nose, grown: float) -> np.ndarray:
    """Which pixels an ellipse between two points covers, its half axes longer by so much: its formula."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    angle = math.atan2(point[1] - nose[1], point[0] - nose[0])
    x, y = columns - (point[0] + nose[0]) / 2, rows - (point[1] + nose[1]) / 2
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    half = math.dist(point, nose) / 2
    return (along / (half + grown)) ** 2 + (across / (4 + grown)) ** 2 <= 1


def disc(point, grown: float) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (columns - point[0]) ** 2 + (rows - point[1]) ** 2 <= (10 + grown) ** 2


def painted(grown: float) -> np.ndarray:
    """The whole drawing by the formulas, the latest on top."""
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for index in (0, 1, 3, 4):
        canvas[ellipse(POINTS[index], POINTS[2], grown)] = [int(value * 0.6) for value in POINT_COLOURS[index]]
    for point, colour in zip(POINTS, POINT_COLOURS, strict=True):
        canvas[disc(point, grown)] = colour
    return canvas


def test_limbs_and_dots_are_where_their_formulas_have_them():
    drawn, smaller, larger = draw_keypoints(POINTS, WIDTH, HEIGHT), painted(-EDGE), painted(EDGE)
    sure = (smaller == larger).all(-1)
    assert sure.mean() > 0.9 and smaller[sure].any()
    assert np.array_equal(drawn[sure], smaller[sure])


def test_each_point_has_its_colour_and_its_limb_is_darker():
    drawn = draw_keypoints(POINTS, WIDTH, HEIGHT)
    for (x, y), colour in zip(POINTS.astype(int), POINT_COLOURS, strict=True):
        assert tuple(drawn[y, x]) == colour
    x, y = ((POINTS[0] + POINTS[2]) / 2).astype(int)
    assert tuple(drawn[y, x]) == (153, 0, 0)
    assert POINT_COLOURS == ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))


def test_a_drawing_is_a_picture_of_the_hosts():
    drawn = draw_face(face_at(), (WIDTH, HEIGHT), DrawingSize())
    assert drawn.shape == (HEIGHT, WIDTH, 3) and drawn.dtype == torch.float32
    assert torch.equal((drawn * 255).byte(), torch.from_numpy(draw_keypoints(POINTS, WIDTH, HEIGHT)))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((0, 0), (200, 240)), ((400, 0), (400, 480)), ((0, 120), (100, 120)), ((512, 256), (512, 256))],
)
def test_a_size_is_the_pictures_or_what_is_given(size, expected):
    assert DrawingSize(*size).of(WIDTH, HEIGHT) == expected
    width, height = expected
    assert draw_face(face_at(), (WIDTH, HEIGHT), DrawingSize(*size)).shape == (height, width, 3)


def test_in_another_shape_the_picture_stands_whole_in_the_middle_and_dots_keep_their_size():
    placed = place_keypoints(POINTS, (200, 200), (800, 400))
    assert np.allclose(placed, POINTS * 2 + [200, 0])
    drawn = draw_keypoints(placed, 800, 400)
    x, y = placed[0].astype(int)
    assert drawn[y, x - 10].any() and not drawn[y, x - 12].any()


def test_a_point_beyond_the_picture_is_cut_off_and_a_face_beyond_it_is_refused():
    away = POINTS.copy()
    away[0] = (-40, -40)
    assert draw_keypoints(away, WIDTH, HEIGHT).any()
    said = refusal(draw_keypoints, POINTS - 400, WIDTH, HEIGHT)
    assert said.startswith("the key points of the face lie outside of the drawing (200×240 pixels)")
