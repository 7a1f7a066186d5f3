"""The wider world: what captions do not say of a scene varies too.

A shape stands anywhere, small or large, and a disc of a colour of its own stands beside it. Captions stay what they
are, and so do the combinations that are held out.
"""

from __future__ import annotations

import math
import random

from .world import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT,
    SIDE,
    TRAINED,
    Colour,
    Combination,
    Companion,
    Scene,
    scenes_of,
)

SIZES = (13.0, 20.0)  # radius of the shape, pixels
MARGIN = 1.0  # pixels between a thing and the picture's border
GAP = 3.0  # pixels between the shape and its companion
REACH = 1.2  # the farthest point of any outline, in radii
DISC = 5.0  # radius of the companion, pixels


def train_wide(count: int, seed: int) -> list[Scene]:
    """Scenes of the combinations that models are trained on."""
    return scenes_of(TRAINED, count, seed, place_widely)


def held_out_wide(count: int, seed: int) -> list[Scene]:
    """Scenes of the combinations that no model has seen."""
    return scenes_of(sorted(HELD_OUT), count, seed, place_widely)


def place_widely(combination: Combination, generator: random.Random) -> Scene:
    """A combination with all that captions leave open chosen at random."""
    background, size = generator.choice(list(BACKGROUNDS)), generator.uniform(*SIZES)
    while True:
        x, y = somewhere(REACH * size, generator)
        disc = somewhere(DISC, generator)
        if math.dist((x, y), disc) >= REACH * size + GAP + DISC:
            break
    companion = Companion(generator.choice(other_colours(combination[1], background)), *disc, DISC)
    return Scene(*combination, background, x, y, size, companion)


def somewhere(radius: float, generator: random.Random) -> tuple[float, float]:
    """A place for something of this radius within the picture."""
    room = SIDE / 2 - MARGIN - radius
    return generator.uniform(-room, room), generator.uniform(-room, room)


def other_colours(colour: str, background: str) -> list[str]:
    """Colours a companion can have: not the shape's, and none that the background could be taken for."""
    return [name for name, rgb in COLOURS.items() if name != colour and far(rgb, BACKGROUNDS[background])]


def far(one: Colour, other: Colour, least: int = 60) -> bool:
    """Whether two colours differ by this much in some channel."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) >= least
