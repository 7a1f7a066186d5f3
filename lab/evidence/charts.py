"""The charts of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from ipadapter.drawing.contact_sheet import font_that_has
from ipadapter.drawing.plots import (
    CHALK,
    CHART_FONT,
    GROUND,
    LINE,
    MARK,
    ChartArea,
    Point,
    Span,
    draw_axes,
    draw_line,
    font,
    limits,
)
from ipadapter.evaluation.statistics import Estimate

WIDTH, HEIGHT = 640, 400
AREA = ChartArea(76, 48, WIDTH - 24, HEIGHT - 56)
COLOURS = (LINE, (255, 178, 64), (120, 214, 130))
Series = Sequence[Point]


def sheet(x: Span, y: Span, across: str, up: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty chart with its axes named."""
    image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    draw, face = ImageDraw.Draw(image), font(CHART_FONT)
    draw_axes(draw, AREA, x, y, face)
    draw.text((AREA.left, 18), up, CHALK, face, "lm")
    draw.text((AREA.right, HEIGHT - 14), across, CHALK, font_that_has(across, CHART_FONT), "rm")
    return image, draw


def draw_curves(curves: Mapping[str, Sequence[Series]], every: int) -> Image.Image:
    """The loss of every run over the steps, a colour a design; a curve's points are `every` steps apart."""
    points = [point for runs in curves.values() for run in runs for point in run]
    x, y = (0.0, every * max(at for at, _ in points)), limits([loss for _, loss in points])
    image, draw = sheet(x, y, "steps", "loss on pictures that nothing learns from")
    for number, ((title, runs), colour) in enumerate(zip(curves.items(), COLOURS, strict=False)):
        for run in runs:
            draw_line(draw, [AREA.place(x, y, (every * at, loss)) for at, loss in run], colour, 2)
        draw.text((AREA.right - 8, AREA.top + 14 + 20 * number), title, colour, font(CHART_FONT), "rm")
    return image


def draw_growth(found: Sequence[tuple[float, Estimate]], across: str, up: str) -> Image.Image:
    """A measure between 0 and 1 over a setting between 0 and 1, with its intervals."""
    x, y = (0.0, 1.0), (0.0, 1.0)
    image, draw = sheet(x, y, across, up)
    draw_line(draw, [AREA.place(x, y, (at, one.mean)) for at, one in found], LINE, 3)
    for at, one in found:
        draw.line([AREA.place(x, y, (at, end)) for end in ends(one)], MARK, 3)
    return image


def draw_tradeoff(found: Sequence[tuple[Estimate, Estimate, str]]) -> Image.Image:
    """CLIP-I over CLIP-T, a labelled point for every λ with its intervals both ways."""
    x, y = (limits([end for one in each for end in ends(one)]) for each in list(zip(*found, strict=True))[:2])
    image, draw = sheet(x, y, "CLIP-T, picture and text", "CLIP-I, picture and image prompt")
    draw_line(draw, [AREA.place(x, y, (text.mean, image_.mean)) for text, image_, _ in found], LINE, 3)
    for text, image_, label in found:
        at = AREA.place(x, y, (text.mean, image_.mean))
        for across, up in ((ends(text), (image_.mean,) * 2), ((text.mean,) * 2, ends(image_))):
            draw.line([AREA.place(x, y, point) for point in zip(across, up, strict=True)], MARK, 2)
        draw.text((at[0] - 8, at[1] + 14), label, CHALK, font_that_has(label, CHART_FONT), "rm")
    return image


def ends(one: Estimate) -> tuple[float, float]:
    """An interval's, or the mean twice where there is none."""
    return (one.mean if one.low is None else one.low), (one.mean if one.high is None else one.high)
