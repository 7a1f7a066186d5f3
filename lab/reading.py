"""What captions do not say, read off a picture's pixels: where the shape is and how large, and its companion.

No network: the paper is the border's colour, a thing is what hangs together and differs from it, the shape is the
largest thing and the companion the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from .world import BACKGROUNDS, COLOURS, OUTLINES, SIDE, Colour, Point, Scene, silhouette

APART = 0.1  # a pixel that differs by so much from the paper in some channel is of a thing
LEAST = 20  # pixels of a companion
MIDDLE = ((SIDE - 1) / 2,) * 2
EVERYWHERE = np.ones((3, 3))  # pixels that touch at a corner hang together


@dataclass(frozen=True)
class Seen:
    """A picture's shape and companion: places and sizes in pixels from the left upper corner.

    Where no companion is seen, its place and its colour are None.
    """

    shape: str
    colour: str | None
    background: str
    place: Point
    size: float  # the square root of the area
    companion: Point | None
    companion_colour: str | None


def read(picture: np.ndarray) -> Seen:
    """What is seen in a picture (64, 64, 3) from 0 to 1."""
    paper = np.median(np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]]), axis=0)
    things = things_of(np.abs(picture - paper).max(-1) > APART)
    shape, companion = things[0], things[1] if len(things) > 1 else None
    full = ndimage.binary_fill_holes(shape)
    return Seen(
        shape=shape_of(full),
        colour=main_colour(picture[shape]),
        background=nearest(paper, BACKGROUNDS),
        place=centre_of(full),
        size=math.sqrt(full.sum()),
        companion=None if companion is None else centre_of(companion),
        companion_colour=None if companion is None else main_colour(picture[companion]),
    )


def things_of(mask: np.ndarray) -> list[np.ndarray]:
    """Masks (64, 64) of what hangs together, the largest first; one at least, which may be empty.

    A line of one pixel does not part a thing: between a light and a dark stripe there is one of the paper's grey.
    """
    labels, count = ndimage.label(ndimage.binary_closing(mask), EVERYWHERE)
    found = sorted((labels == number for number in range(1, count + 1)), key=lambda one: -int(one.sum()))
    return [found[0], *(one for one in found[1:] if one.sum() >= LEAST)] if found else [mask]


def centre_of(mask: np.ndarray) -> Point:
    """The mean place of a mask's pixels, the picture's middle where it has none."""
    if not mask.any():
        return MIDDLE
    y, x = np.nonzero(mask)
    return float(x.mean()), float(y.mean())


def main_colour(pixels: np.ndarray) -> str | None:
    """The colour that most of these pixels (N, 3) are nearest to, those left out that are near none."""
    palette = np.array(list(COLOURS.values())) / 255  # (C, 3)
    apart = np.abs(pixels[:, None] - palette).max(-1)  # (N, C)
    near = apart.min(-1) < 0.25
    votes = np.bincount(apart[near].argmin(-1), minlength=len(COLOURS))
    return list(COLOURS)[int(votes.argmax())] if votes.any() else None


def nearest(colour: np.ndarray, names: dict[str, Colour]) -> str:
    """The name whose colour is nearest."""
    return min(names, key=lambda name: float(np.abs(colour - np.array(names[name]) / 255).max()))


def shape_of(mask: np.ndarray) -> str:
    """The shape that overlaps most with a mask when brought to its middle and area."""
    return max(OUTLINES, key=lambda name: overlap(mask, fitted(name, mask)))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """What two masks share, of what either has."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def fitted(name: str, mask: np.ndarray) -> np.ndarray:
    """A shape of a mask's area about its middle."""
    (x, y), (dx, dy, area) = centre_of(mask), middle_and_area(name)
    size = math.sqrt(max(1.0, float(mask.sum())) / area)
    return painted(Scene(name, "red", "solid", "black", x - dx * size - MIDDLE[0], y - dy * size - MIDDLE[1], size))


@cache
def middle_and_area(name: str) -> tuple[float, float, float]:
    """A shape's middle, from its centre, and its area, at radius 1."""
    size = 20.0
    mask = painted(Scene(name, "red", "solid", "black", size=size))
    x, y = centre_of(mask)
    return (x - MIDDLE[0]) / size, (y - MIDDLE[1]) / size, float(mask.sum()) / size**2


def painted(scene: Scene) -> np.ndarray:
    """Where a scene's shape is, (64, 64)."""
    return np.asarray(silhouette(scene).resize((SIDE, SIDE))) > 127
