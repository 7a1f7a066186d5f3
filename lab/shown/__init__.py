"""Pictures by the laboratory's models for those who want to show what an image prompt does: `pictures.png`, one row.

python -m lab.shown             # draws them again
python -m lab.shown inpainted   # one, or some
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..world import SIDE, Scene, draw

FILE = Path(__file__).with_name("pictures.png")

HEART = Scene("heart", "red", "striped", "tan")
STAR = Scene("star", "yellow", "dotted", "teal")
CIRCLE = Scene("circle", "blue", "striped", "pink")
CROSS = Scene("cross", "white", "solid", "grey")
TRIANGLE = Scene("triangle", "green", "dotted", "black")

# What was drawn, in the order of the file; `drawing` says how.
NAMES = (
    "image alone",
    "image, half",
    "no image",
    "image and words",
    "a circle",
    "style and words",
    "composition and words",
    "style and composition",
    "image and structure",
    "image from image",
    "inpainted",
    "two images",
    "left region",
    "wide reference",
    "right region",
    "first frame",
    "second frame",
    "third frame",
    "fourth frame",
    "where it acted",
    "another",
    "another and structure",
    "one more",
)


def reference(scene: Scene) -> Image.Image:
    """A scene as it is given to the models."""
    return Image.fromarray(np.asarray(draw(scene)))


def made(name: str) -> Image.Image:
    """A picture that a model has drawn."""
    left = NAMES.index(name) * SIDE
    with Image.open(FILE) as row:
        return row.convert("RGB").crop((left, 0, left + SIDE, SIDE))
