"""What is read off drawn scenes is what was drawn, within a pixel; what is not there is said not to be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lab.reading import MIDDLE, Seen, middle_and_area, read
from lab.wide import held_out_wide
from lab.world import SHAPES, Scene, draw

SCENES = held_out_wide(120, 41)


def seen(scene: Scene) -> Seen:
    return read(draw(scene) / 255)


READ = [seen(scene) for scene in SCENES]


def share(values) -> float:
    """How many are true."""
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize("name", ["shape", "colour", "background"])
def test_names_are_read(name: str):
    assert share(getattr(a, name) == getattr(b, name) for a, b in zip(READ, SCENES, strict=True)) == 1


def test_the_companion_is_read():
    pairs = list(zip(READ, SCENES, strict=True))
    assert share(one.companion_colour == scene.companion.colour for one, scene in pairs) > 0.98
    apart = [
        math.dist(one.companion, (scene.companion.x + MIDDLE[0], scene.companion.y + MIDDLE[1])) for one, scene in pairs
    ]
    assert np.median(apart) < 0.3 and share(distance < 1 for distance in apart) > 0.98


def test_place_and_size_are_read():
    for one, scene in zip(READ, SCENES, strict=True):
        x, y, area = middle_and_area(scene.shape)
        place = scene.x + x * scene.size + MIDDLE[0], scene.y + y * scene.size + MIDDLE[1]
        assert math.dist(one.place, place) < 5 and abs(one.size - math.sqrt(area) * scene.size) < 4
    moved = [replace(scene, x=scene.x + 1, companion=None) for scene in SCENES]
    before = [seen(replace(scene, companion=None)).place for scene in SCENES]
    steps = [seen(after).place[0] - place[0] for after, place in zip(moved, before, strict=True)]
    assert abs(np.mean(steps) - 1) < 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_a_missing_companion_is_said_to_be_missing(shape: str):
    one = seen(Scene(shape, "red", "solid", "grey", 4, -3, 15))
    assert one.companion_colour is None and one.companion is None and one.shape == shape


def test_an_empty_picture_has_nothing():
    one = read(np.full((64, 64, 3), 0.5))
    assert one.colour is None and one.companion_colour is None and one.place == MIDDLE and one.size == 0
