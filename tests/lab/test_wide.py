"""The wider world: what captions do not say varies, and everything stays within the picture and apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab.wide import GAP, REACH, SIZES, held_out_wide, train_wide
from lab.world import COLOURS, HELD_OUT, SIDE, Scene, at_night, captions, draw, every_caption, undo_night

SCENES = train_wide(300, 0)


def test_the_same_seed_gives_the_same_scenes():
    assert train_wide(20, 4) == train_wide(20, 4) != train_wide(20, 5)


def test_what_is_held_out_stays_held_out():
    assert not {scene.combination for scene in SCENES} & HELD_OUT
    assert {scene.combination for scene in held_out_wide(100, 0)} == HELD_OUT


def test_everything_is_within_the_picture_and_apart():
    for scene in SCENES:
        disc = scene.companion
        assert max(abs(scene.x), abs(scene.y)) + REACH * scene.size <= SIDE / 2
        assert max(abs(disc.x), abs(disc.y)) + disc.size <= SIDE / 2
        assert math.dist((scene.x, scene.y), (disc.x, disc.y)) >= REACH * scene.size + disc.size + GAP
        assert SIZES[0] <= scene.size <= SIZES[1]


def test_a_companion_is_of_a_colour_of_its_own():
    assert all(scene.companion.colour != scene.colour for scene in SCENES)
    assert {scene.companion.colour for scene in SCENES} == set(COLOURS)


def test_captions_say_nothing_of_it():
    alike = [Scene(*scene.combination, scene.background) for scene in SCENES]
    assert [captions(scene) for scene in SCENES] == [captions(scene) for scene in alike]
    assert {text for scene in SCENES for text in captions(scene)} <= set(every_caption())


@pytest.mark.parametrize("scene", SCENES[:4])
def test_a_companion_is_drawn_where_it_stands_and_nothing_else_changes(scene: Scene):
    alone = Scene(*scene.combination, scene.background, scene.x, scene.y, scene.size)
    changed = np.abs(draw(scene).astype(int) - draw(alone)).max(-1) > 0
    y, x = np.nonzero(changed)
    middle = (SIDE - 1) / 2
    assert math.dist((x.mean() - middle, y.mean() - middle), (scene.companion.x, scene.companion.y)) < 0.5
    assert abs(changed.sum() - math.pi * scene.companion.size**2) < 30


def test_the_night_can_be_undone():
    picture = draw(Scene("star", "green", "solid", "tan"))
    assert np.abs(undo_night(at_night(picture) / 255) - picture / 255).max() < 0.02
