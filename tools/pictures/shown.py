"""Pictures side by side, with what was said and what was shown before them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw
from torch import Tensor

from ipadapter.drawing.contact_sheet import Sheet, draw_sheet
from ipadapter.drawing.plots import font
from lab.evidence.page import as_image

CELL = 144  # pixels of a picture on a sheet
GROUND, INK = (246, 246, 244), (32, 32, 32)


@dataclass(frozen=True)
class Shown:
    """A picture and what is written above it."""

    label: str
    picture: Image.Image


def picture(label: str, tensor: Tensor) -> Shown:
    """A picture (H, W, 3) in 0 … 1."""
    return Shown(label, as_image(tensor.numpy()))


def words(text: str, label: str = "text") -> Shown:
    """A text in the place of a picture."""
    tile = Image.new("RGB", (CELL, CELL), GROUND)
    lines = "\n".join(textwrap.wrap(text, 14))
    ImageDraw.Draw(tile).multiline_text((CELL / 2, CELL / 2), lines, INK, font(CELL / 10), "mm", 6, "center")
    return Shown(label, tile)


def rows_of(rows: Sequence[Sequence[Shown]], labels: Sequence[str] = (), side: int = CELL) -> Image.Image:
    """Rows of pictures, all with the labels of the first."""
    pictures = [one.picture for row in rows for one in row]
    heads = [one.label for one in rows[0]]
    natural = max(one.size for one in pictures)
    return draw_sheet(Sheet(pictures, len(heads), natural, labels, heads), side)
