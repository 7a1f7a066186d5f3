"""What a face looks like to the stand-in detector: a disc of skin with five dots, each of a colour of its own."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Spot:
    """A dot of a face: its colour, and where it is in radii from the middle."""

    colour: Colour
    place: tuple[float, float]


SKIN: Colour = (224, 172, 140)
SPOTS = (  # in InsightFace's order
    Spot((0, 0, 255), (-0.4, -0.25)),  # the eye on the left of the picture
    Spot((0, 255, 0), (0.4, -0.25)),
    Spot((255, 0, 0), (0.0, 0.1)),  # nose
    Spot((255, 0, 255), (-0.32, 0.45)),  # corner of the mouth
    Spot((0, 255, 255), (0.32, 0.45)),
)
SPOT_RADIUS = 0.13  # in radii of the face
