"""Strengths as pictures: a bar for each cross-attention layer, a line over the sampling, a bar for each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ..backbones.backbone import CrossAttentionLayer
from ..backbones.known import backbone_of
from ..strength.curve import WeightCurve
from ..strength.layers import LayerWeights, transformers_of
from .plots import (
    CHALK,
    GROUND,
    LINE,
    MARK,
    ChartArea,
    Font,
    Span,
    chart_box,
    draw_axes,
    draw_line,
    draw_rows,
    font_for,
    text_size,
    tick_label,
    ticks,
)

WIDTH, HEIGHT = 480, 220  # pixels, about what a node has for a picture
PART_COLOURS = (LINE, (190, 140, 255), (84, 205, 150))  # in the order in which a model runs its parts
INVERTED = "inverted"
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Bar:
    """One bar: its height, its colour, the group it stands in."""

    value: float
    colour: RGB
    group: str


def span_of(values: Sequence[float]) -> Span:
    """From 0, or below, to a little above the highest."""
    low, high = min(0.0, *values), max(0.0, *values)
    high = high if high > low else low + 1.0
    air = 0.08 * (high - low)
    return low - (air if low < 0 else 0.0), high + air


def layer_bars(layers: Sequence[CrossAttentionLayer], weights: LayerWeights) -> list[Bar]:
    """A bar for each layer, in the order in which the model runs them; an inverted layer is red."""
    order, backbone = transformers_of(layers), backbone_of(layers)
    pairs = sorted(zip(layers, weights, strict=True), key=lambda pair: (order.index(pair[0].block), pair[0].place[2]))
    return [
        Bar(
            weight.weight,
            MARK if weight.inverted else PART_COLOURS[backbone.parts.index(layer.place[0])],
            backbone.short(layer.block),
        )
        for layer, weight in pairs
    ]


def draw_layers(layers: Sequence[CrossAttentionLayer], weights: LayerWeights) -> Image.Image:
    """What each layer's strength is multiplied by."""
    parts = backbone_of(layers).parts
    legend = dict(zip(parts, PART_COLOURS, strict=False)) if len(parts) > 1 else {}
    inverted = {INVERTED: MARK} if any(weight.inverted for weight in weights) else {}
    return draw_bars(layer_bars(layers, weights), "Weight by layer", legend | inverted)


def draw_frames(weights: Sequence[float]) -> Image.Image:
    """The weight of each frame."""
    every = max(1, len(weights) // 16)
    bars = [Bar(weight, LINE, str(index // every * every)) for index, weight in enumerate(weights)]
    return draw_bars(bars, "Weight by frame", {})


def draw_bars(bars: Sequence[Bar], title: str, legend: Mapping[str, RGB]) -> Image.Image:
    """Bars from zero, with the names of their groups below and those of their colours above."""
    image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    draw, face, y = ImageDraw.Draw(image), font_for(WIDTH, HEIGHT), span_of([bar.value for bar in bars])
    box = chart_box(WIDTH, HEIGHT, face, [tick_label(tick) for tick in ticks(*y)])
    x: Span = (0.0, float(len(bars)))
    draw_rows(draw, box, y, face)
    for index, bar in enumerate(bars):
        draw_weight(draw, box, x, y, index, bar)
    draw_groups(draw, box, x, [bar.group for bar in bars], face)
    draw.text((box.left, box.top / 2), title, fill=CHALK, font=face, anchor="lm")
    draw_legend(draw, box, legend, face)
    return image


def draw_legend(draw: ImageDraw.ImageDraw, box: ChartArea, legend: Mapping[str, RGB], face: Font) -> None:
    """A patch of each colour with its name, above the chart on the right."""
    right, middle, side = box.right, box.top / 2, text_size("0", face)[1]
    for name, colour in reversed([*legend.items()]):
        draw.text((right, middle), name, fill=CHALK, font=face, anchor="rm")
        left = right - text_size(name, face)[0] - side * 1.4
        draw.rectangle((left, middle - side / 2, left + side, middle + side / 2), fill=colour)
        right = left - side


def draw_weight(draw: ImageDraw.ImageDraw, box: ChartArea, x: Span, y: Span, index: int, bar: Bar) -> None:
    """One bar; one without height is a line on the axis."""
    (left, one), (right, other) = (box.place(x, y, point) for point in ((index + 0.12, bar.value), (index + 0.88, 0.0)))
    draw.rectangle((left, min(one, other) - 1, right, max(one, other)), fill=bar.colour)


def draw_groups(draw: ImageDraw.ImageDraw, box: ChartArea, x: Span, groups: Sequence[str], face: Font) -> None:
    """A tick where a group begins, and its name; only its number, or no name, where there is little room."""
    starts = [index for index, group in enumerate(groups) if index == 0 or groups[index - 1] != group]
    free = box.left
    for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
        edge, middle, after = (box.place(x, (0, 1), (at, 0.0))[0] for at in (start, (start + end) / 2, end))
        draw.line((edge, box.bottom, edge, box.bottom + 4), fill=CHALK)
        text = groups[start] if text_size(groups[start], face)[0] < after - edge else groups[start].split()[-1]
        half = text_size(text, face)[0] / 2
        if middle - half >= free:
            draw.text((middle, box.bottom + text_size("0", face)[1] / 2), text, fill=CHALK, font=face, anchor="mt")
            free = middle + half + text_size(" ", face)[0]


def draw_curves(curves: Sequence[WeightCurve]) -> Image.Image:
    """The product of the curves over the sampling."""
    positions = [index / 400 for index in range(401)]
    values = [product([curve.value(at) for curve in curves]) for at in positions]
    image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    draw, face, y = ImageDraw.Draw(image), font_for(WIDTH, HEIGHT), span_of(values)
    box = chart_box(WIDTH, HEIGHT, face, [tick_label(tick) for tick in ticks(*y)])
    draw_axes(draw, box, (0.0, 1.0), y, face)
    draw_line(draw, [box.place((0.0, 1.0), y, point) for point in zip(positions, values, strict=True)], LINE, 3)
    draw.text((box.left, box.top / 2), "Weight from first step to last", fill=CHALK, font=face, anchor="lm")
    return image


def product(values: Sequence[float]) -> float:
    """All of them multiplied."""
    total = 1.0
    for value in values:
        total *= value
    return total
