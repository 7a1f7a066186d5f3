"""A map of numbers as colours over a picture, with a bar that says which colour is which number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from .contact_sheet import SMALLEST_TEXT, fitting_face
from .plots import INK, PAPER, Font, Span, text_size, ticks

Numbers = NDArray[np.float64]

# Lightness, chroma and hue in degrees (OKLCH): even steps of lightness, from night blue over violet and red to yellow.
ANCHORS = (
    (0.20, 0.070, 275.0),
    (0.35, 0.140, 298.0),
    (0.50, 0.180, 340.0),
    (0.65, 0.180, 385.0),
    (0.80, 0.145, 425.0),
    (0.95, 0.100, 465.0),
)
COLOURS = 256
# OKLab to linear sRGB, as Björn Ottosson defines it (bottosson.github.io/posts/oklab).
LAB_TO_LMS = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
LMS_TO_RGB = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)

SMALLEST_PICTURE = 256  # pixels of its short side; a smaller one is enlarged, so that the bar can be read
LABEL = "share of the image prompt"


@cache
def colour_scale() -> NDArray[np.uint8]:
    """The colour of every level, (256, 3), evenly lighter from one to the next."""
    at, anchors = np.linspace(0, len(ANCHORS) - 1, COLOURS), np.array(ANCHORS)
    lightness, chroma, hue = (np.interp(at, range(len(ANCHORS)), column) for column in anchors.T)
    turn = np.radians(hue)
    lab = np.stack([lightness, chroma * np.cos(turn), chroma * np.sin(turn)], axis=1)
    linear = ((lab @ np.array(LAB_TO_LMS).T) ** 3 @ np.array(LMS_TO_RGB).T).clip(0, 1)
    levels = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    made: NDArray[np.uint8] = np.round(levels * 255).astype(np.uint8)
    return made


def colour(values: Numbers, span: Span) -> Image.Image:
    """Numbers (H, W) as colours, the span's ends those of the scale."""
    reach = (span[1] - span[0]) or 1.0
    levels = ((values - span[0]) / reach).clip(0, 1) * (COLOURS - 1)
    return Image.fromarray(colour_scale()[np.round(levels).astype(np.uint8)])


SCALES: dict[str, Callable[[Tensor], list[Span]]] = {
    "lowest to highest": lambda maps: [(float(one.min()), float(one.max())) for one in maps],
    "lowest to highest of all": lambda maps: [(float(maps.min()), float(maps.max()))] * len(maps),
    "0 to highest": lambda maps: [(0.0, float(one.max())) for one in maps],
    "0 to 1": lambda maps: [(0.0, 1.0)] * len(maps),
}


@dataclass(frozen=True)
class Legend:
    """Sizes of the strip with the bar, in pixels."""

    width: int
    face: Font

    @property
    def line(self) -> int:
        return text_size("0", self.face)[1]

    @property
    def bar(self) -> int:
        """Height of the bar."""
        return max(6, round(self.line * 0.9))

    @property
    def height(self) -> int:
        return self.bar + 2 * self.line + 3 * self.gap

    @property
    def gap(self) -> int:
        return max(3, self.line // 2)


def draw_heat_map(picture: Image.Image, values: Numbers, span: Span, opacity: float) -> Image.Image:
    """The picture, greyer the more opaque the colours over it are, and the bar below it. Values (H, W) fit its size."""
    heated = under_bar(Image.blend(muted(picture, opacity), colour(values, span), opacity))
    legend = legend_for(heated.width)
    sheet = Image.new("RGB", (heated.width, heated.height + legend.height), PAPER)
    sheet.paste(heated, (0, 0))
    draw_scale(sheet, heated.height, legend, span)
    return sheet


def muted(picture: Image.Image, by: float) -> Image.Image:
    """A picture with less of its own colours, which would mix with those of the map."""
    return Image.blend(picture, picture.convert("L").convert("RGB"), by)


def under_bar(picture: Image.Image) -> Image.Image:
    """A picture large enough for the bar's numbers, enlarged by a whole number where it is not."""
    factor = math.ceil(SMALLEST_PICTURE / min(picture.size))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)


def legend_for(width: int) -> Legend:
    """A strip whose text is in proportion, and fits."""
    return Legend(width, fitting_face(LABEL, max(SMALLEST_TEXT, width / 28), round(width * 0.8)))


def draw_scale(sheet: Image.Image, top: int, legend: Legend, span: Span) -> None:
    """The colours from the lowest to the highest number, numbers below them, and what they are above."""
    draw, gap = ImageDraw.Draw(sheet), legend.gap
    left, right = 2 * gap, legend.width - 2 * gap
    bar = top + legend.line + 2 * gap
    draw.text((left, top + gap), LABEL, fill=INK, font=legend.face, anchor="lt")
    ramp = colour(np.tile(np.linspace(0, 1, right - left), (legend.bar, 1)), (0, 1))
    sheet.paste(ramp, (left, bar))
    for text, at, anchor in marks(span, left, right, legend.face):
        draw.text((at, bar + legend.bar + gap // 2), text, fill=INK, font=legend.face, anchor=anchor)


def marks(span: Span, left: int, right: int, face: Font) -> list[tuple[str, float, str]]:
    """Numbers below the bar with where they stand: both ends, and round ones that have room between them."""
    reach = (span[1] - span[0]) or 1.0
    decimals = 2 if reach >= 0.1 else 3
    low, high, *inner = (f"{number:.{decimals}f}" for number in (*span, *inner_ticks(span)))
    places = [left + (right - left) * (tick - span[0]) / reach for tick in inner_ticks(span)]
    room = 1.9 * text_size(high, face)[0]
    between = [(text, at, "mt") for text, at in zip(inner, places, strict=True) if left + room < at < right - room]
    return [(low, left, "lt"), *between, (high, right, "rt")]


def inner_ticks(span: Span) -> Sequence[float]:
    """Round numbers inside a span."""
    return ticks(*span) if span[1] > span[0] else ()
