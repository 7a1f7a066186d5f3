"""The miniature world: the same from the same seed, its held-out part apart, its pictures as described."""

from collections import Counter

import numpy as np
import pytest

from lab.world import (
    ATTRIBUTES,
    HELD_OUT,
    SIDE,
    Mention,
    Scene,
    at_night,
    caption,
    captions,
    draw,
    edges,
    every_caption,
    held_out_combinations,
    held_out_scenes,
    train_scenes,
)

STAR = Scene("star", "red", "striped", "teal")


def test_the_same_seed_gives_the_same_scenes_and_pictures():
    first, again = train_scenes(20, 4), train_scenes(20, 4)
    assert first == again != train_scenes(20, 5)
    assert all(np.array_equal(draw(a), draw(b)) for a, b in zip(first, again, strict=True))


def test_held_out_combinations_are_never_trained_on():
    seen = {scene.combination for scene in train_scenes(500, 0)}
    unseen = {scene.combination for scene in held_out_scenes(200, 0)}
    assert unseen == HELD_OUT == held_out_combinations()
    assert not seen & unseen
    assert len(seen) + len(unseen) == 6 * 6 * 4


@pytest.mark.parametrize("position", range(3))
def test_every_value_is_held_out_equally_often(position: int):
    counts = Counter(combination[position] for combination in HELD_OUT)
    assert set(counts) == set(list(ATTRIBUTES.values())[position])
    assert len(set(counts.values())) == 1


def test_pictures_are_of_the_right_size_and_kind():
    picture = draw(STAR)
    assert picture.shape == (SIDE, SIDE, 3) and picture.dtype == np.uint8


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_value_of_an_attribute_looks_different(attribute: str):
    looks = [draw(Scene(**{**vars(STAR), attribute: value})).astype(float) for value in ATTRIBUTES[attribute]]
    apart = [abs(a - b).mean() for i, a in enumerate(looks) for b in looks[:i]]
    assert min(apart) > 2


def test_captions_tell_what_they_are_asked_to():
    assert caption(STAR) == "a striped red star on a teal background"
    assert caption(STAR, Mention(style=False, background=False)) == "a red star"
    assert caption(STAR, Mention(colour=False, shape=False, background=False)) == "a striped shape"
    assert caption(Scene("cross", "blue", "outlined", "tan")) == "an outlined blue cross on a tan background"
    assert caption(STAR, Mention(False, False, False)) == "a shape on a teal background"


def test_the_captions_of_every_scene_are_among_all_captions():
    every = list(every_caption())
    assert len(every) == len(set(every)) and every[0] == ""
    assert {text for scene in train_scenes(50, 1) for text in captions(scene)} <= set(every)


def test_night_is_darker_and_bluer():
    day = draw(STAR).astype(float)
    night = at_night(draw(STAR)).astype(float)
    assert night.mean() < day.mean()
    assert night[..., 2].mean() - night[..., 0].mean() > day[..., 2].mean() - day[..., 0].mean()


def test_edges_follow_the_shape_and_nothing_else():
    moved = Scene("star", "red", "striped", "teal", x=5)
    other = Scene("star", "blue", "solid", "pink")
    assert np.array_equal(edges(STAR), edges(other))
    assert not np.array_equal(edges(STAR), edges(moved))
    assert 0.01 < (edges(STAR) > 128).mean() < 0.2
