"""Charts and contact sheets as pictures, drawn with Pillow and its own scalable font: small, without dependencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]
Span = tuple[float, float]  # from, to
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER, INK = (255, 255, 255), (32, 32, 32)  # of sheets and heat maps
# Charts are looked at on nodes, which are dark and some 300 pixels wide.
GROUND, CHALK, GRID = (27, 29, 34), (222, 224, 230), (62, 66, 76)
LINE, FAINT, MARK = (96, 170, 255), (70, 98, 138), (255, 88, 72)
SMALLEST_FONT = 8  # pixels; below it nothing can be read
CHART_FONT = 15  # pixels of a chart's letters at least
SMOOTHING = 0.02  # of the values, how many the smoothed line looks back


@dataclass(frozen=True)
class ChartArea:
    """A rectangle of a picture, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def place(self, x: Span, y: Span, point: Point) -> Point:
        """Where a point of the data falls, y upwards."""
        across = (point[0] - x[0]) / (x[1] - x[0])
        up = (point[1] - y[0]) / (y[1] - y[0])
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)


def font(size: float) -> Font:
    """Pillow's own font, so that a chart looks the same on every machine."""
    return ImageFont.load_default(size=max(SMALLEST_FONT, size))


def font_for(width: int, height: int) -> Font:
    """Text in proportion to a chart."""
    return font(max(CHART_FONT, min(width, height) / 24))


def text_size(text: str, face: Font) -> tuple[int, int]:
    """Width and height of a text of one or more lines, in pixels."""
    left, top, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), text, font=face)
    return math.ceil(right - min(left, 0)), math.ceil(bottom - min(top, 0))


def smooth(values: Sequence[float], fraction: float = SMOOTHING) -> list[float]:
    """Exponential mean over about this fraction of the values, unbiased at its start; what is not finite is left out.

    A value that is not finite repeats the mean before it (NaN while there is none).
    """
    keep = 1 - 1 / max(1.0, fraction * len(values))
    total, weight, out = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(total / weight if weight else math.nan)
    return out


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) between two limits."""
    step = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(step))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= step), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def limits(values: Sequence[float]) -> Span:
    """The span of the finite values with a little air; 0 … 1 where there is none."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - air, high + air


def tick_label(value: float) -> str:
    """A tick's label."""
    return f"{value:.4g}"


def line_plot(values: Sequence[float], width: int, height: int, title: str) -> Image.Image:
    """Values over steps 1, 2, …: a faint line as they are, a strong one smoothed, axes with numbers."""
    image = Image.new("RGB", (width, height), GROUND)
    draw, face = ImageDraw.Draw(image), font_for(width, height)
    x, y = (1.0, float(max(2, len(values)))), limits(values)
    box = chart_box(width, height, face, [tick_label(tick) for tick in ticks(*y)])
    draw_axes(draw, box, x, y, face)
    draw.text((box.left, box.top / 2), title, fill=CHALK, font=face, anchor="lm")
    for series, colour, thick in ((values, FAINT, 1), (smooth(values), LINE, max(2, height // 200))):
        draw_line(draw, [box.place(x, y, point) for point in enumerate(series, 1)], colour, thick)
    return image


def chart_box(width: int, height: int, face: Font, labels: Sequence[str]) -> ChartArea:
    """What is left for the data beside a title above and numbers left of and below it."""
    line = text_size("0", face)[1]
    widest = max((text_size(label, face)[0] for label in labels), default=0)
    return ChartArea(widest + line * 1.5, line * 2.5, width - line * 1.5, height - line * 2.5)


def draw_axes(draw: ImageDraw.ImageDraw, box: ChartArea, x: Span, y: Span, face: Font) -> None:
    """Grid lines with their numbers, both ways."""
    draw_rows(draw, box, y, face)
    draw_columns(draw, box, x, face)


def draw_rows(draw: ImageDraw.ImageDraw, box: ChartArea, y: Span, face: Font) -> None:
    """Level grid lines with their numbers on the left."""
    gap = text_size("0", face)[1] / 2
    for tick in ticks(*y):
        at = box.place((0, 1), y, (0, tick))[1]
        draw.line((box.left, at, box.right, at), fill=GRID)
        draw.text((box.left - gap, at), tick_label(tick), fill=CHALK, font=face, anchor="rm")


def draw_columns(draw: ImageDraw.ImageDraw, box: ChartArea, x: Span, face: Font) -> None:
    """Upright grid lines with their numbers below."""
    gap = text_size("0", face)[1] / 2
    for tick in ticks(*x):
        at = box.place(x, (0, 1), (tick, 0))[0]
        draw.line((at, box.top, at, box.bottom), fill=GRID)
        draw.text((at, box.bottom + gap), tick_label(tick), fill=CHALK, font=face, anchor="mt")


def draw_line(draw: ImageDraw.ImageDraw, points: Sequence[Point], colour: tuple[int, int, int], thick: int) -> None:
    """A line through the points that are finite; a single one is a dot."""
    finite = [point for point in points if all(map(math.isfinite, point))]
    if len(finite) == 1:
        ((x, y),) = finite
        draw.ellipse((x - 2 * thick, y - 2 * thick, x + 2 * thick, y + 2 * thick), fill=colour)
    draw.line(finite, fill=colour, width=thick, joint="curve")


@dataclass(frozen=True)
class Strip:
    """One row of a strip chart: values, their mean, and the interval of the mean where there is one."""

    label: str
    values: Sequence[float]
    mean: float
    low: float | None = None
    high: float | None = None


def strip_plot(strips: Sequence[Strip], width: int, height: int, title: str) -> Image.Image:
    """A row of dots for each strip on one axis, with the mean as a bar and its interval as a line."""
    image = Image.new("RGB", (width, height), GROUND)
    draw, face = ImageDraw.Draw(image), font_for(width, height)
    x = limits([value for strip in strips for value in strip.values])
    box = chart_box(width, height, face, [strip.label for strip in strips])
    draw_columns(draw, box, x, face)
    draw.text((box.left, box.top / 2), title, fill=CHALK, font=face, anchor="lm")
    row = (box.bottom - box.top) / max(1, len(strips))
    for index, strip in enumerate(strips):
        top = box.top + index * row
        draw_strip(draw, ChartArea(box.left, top, box.right, top + row), x, strip, face)
    return image


def draw_strip(
    draw: ImageDraw.ImageDraw,
    box: ChartArea,
    x: Span,
    strip: Strip,
    face: Font,
) -> None:
    """One strip: dots scattered evenly over the middle of its row, mean and interval over them."""
    radius, gap = max(2.5, (box.bottom - box.top) / 60), text_size("0", face)[1] / 2
    draw.text((box.left - gap, (box.top + box.bottom) / 2), strip.label, fill=CHALK, font=face, anchor="rm")
    for index, value in enumerate(strip.values):
        at, up = box.place(x, (0, 1), (value, 0.15 + 0.45 * (index * 0.618 % 1)))
        draw.ellipse((at - radius, up - radius, at + radius, up + radius), fill=FAINT)
    if strip.low is not None and strip.high is not None:
        (left, middle), (right, _) = (box.place(x, (0, 1), (end, 0.375)) for end in (strip.low, strip.high))
        draw.line((left, middle, right, middle), fill=MARK, width=max(2, round(radius * 1.5)))
    at, top = box.place(x, (0, 1), (strip.mean, 0.65))
    _, bottom = box.place(x, (0, 1), (strip.mean, 0.1))
    draw.line((at, top, at, bottom), fill=MARK, width=max(2, round(radius)))
    draw.text((at, top - gap), f"{strip.mean:.3f}", fill=MARK, font=face, anchor="mb")
