"""A detector made by hand, which finds faces as `faces` has them, with the interface of InsightFace's.

Its outputs are SCRFD's with keypoints: scores, boxes and keypoints at the strides 8, 16 and 32, two anchors a cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from .faces import SKIN, SPOTS
from .graphs import Graph, floats

MEAN, DEVIATION = 127.5, 128.0  # InsightFace's normalisation before the detector
TOLERANCE = 40 / DEVIATION  # of a colour, either way
SMALLEST_RADIUS = 6  # pixels of the detector's input
MARGIN = 1.1  # radii around the centre that have to lie within the picture, as a detector wants a whole head
CELL = 8


@dataclass(frozen=True)
class Level:
    """A stride of the detector, and the windows around each cell, one an anchor, that a face has to lie in."""

    stride: int
    windows: tuple[int, int]  # in cells of 8 pixels, odd


LEVELS = (Level(8, (9, 15)), Level(16, (23, 33)), Level(32, (45, 65)))  # the last for radii up to 228 pixels
WIDTHS = {"score": 1, "bbox": 4, "kps": 10}


@dataclass(frozen=True)
class Blobs:
    """What is summed up over windows to find discs, and where each pixel is."""

    sums: str  # (1, 4 + 3 · 5, H / 8, W / 8): of a face 1, x, y, x² + y², then of each spot 1, x, y
    x: str  # (1, 1, H, W)
    y: str


def detector() -> onnx.ModelProto:
    """Pictures (1, 3, H, W), RGB, normalised, to SCRFD's nine outputs."""
    graph = Graph()
    blobs = sum_up(graph, "input.1")
    for level in LEVELS:
        find_discs(graph, blobs, level)
    outputs = [
        floats(f"{kind}_{level.stride}", f"anchors_{level.stride}", width)
        for kind, width in WIDTHS.items()
        for level in LEVELS
    ]
    return graph.model([floats("input.1", 1, 3, "height", "width")], outputs)


def sum_up(graph: Graph, pixels: str) -> Blobs:
    """Masks of skin and spots, with the moments of a disc and of dots."""
    masks = colour_masks(graph, pixels)  # (1, 6, H, W)
    face = graph.op("ReduceMax", masks, axes=[1])  # (1, 1, H, W)
    spots = graph.part(masks, 1, 1 + len(SPOTS))  # (1, 5, H, W)
    ones = graph.op("Add", graph.op("Mul", face, graph.number(0)), graph.number(1))
    x, y = (
        graph.op("Sub", graph.op("CumSum", ones, graph.constant(np.int64(axis))), graph.number(1)) for axis in (3, 2)
    )
    squares = graph.op("Add", graph.op("Mul", x, x), graph.op("Mul", y, y))
    of_face = [face, *(graph.op("Mul", face, weight) for weight in (x, y, squares))]
    of_spots = [spots, graph.op("Mul", spots, x), graph.op("Mul", spots, y)]
    every = graph.op("Concat", *of_face, *of_spots, axis=1)  # (1, 19, H, W)
    return Blobs(window_sums(graph, every, CELL, CELL, 0), x, y)


def colour_masks(graph: Graph, pixels: str) -> str:
    """Where the picture has the colour of skin and of each spot, 0 or 1, (1, 6, H, W)."""
    colours = np.array([SKIN, *(spot.colour for spot in SPOTS)], dtype=np.float32)
    normalised = graph.constant(((colours - MEAN) / DEVIATION).reshape(1, -1, 3, 1, 1))
    apart = graph.op("Sub", graph.op("Unsqueeze", pixels, graph.integers(1)), normalised)  # (1, 6, 3, H, W)
    furthest = graph.op("ReduceMax", graph.op("Abs", apart), axes=[2], keepdims=0)
    return graph.op("Cast", graph.op("LessOrEqual", furthest, graph.number(TOLERANCE)), to=TensorProto.FLOAT)


def window_sums(graph: Graph, x: str, kernel: int, stride: int, border: int) -> str:
    """Sums over windows."""
    mean = graph.op(
        "AveragePool",
        x,
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=[border] * 4,
        count_include_pad=1,
    )
    return graph.op("Mul", mean, graph.number(kernel**2))


@dataclass(frozen=True)
class Discs:
    """In each cell: the disc in the window around it."""

    area: str
    x: str
    y: str
    radius: str
    spread: str  # mean square distance from the middle

    @property
    def middle(self) -> tuple[str, str]:
        return self.x, self.y


@dataclass(frozen=True)
class Found:
    """What a window gives, as maps over the cells."""

    score: str  # (1, 1, h, w)
    bbox: str  # (1, 4, h, w)
    kps: str  # (1, 10, h, w)


def find_discs(graph: Graph, blobs: Blobs, level: Level) -> None:
    """The three outputs of one stride, each with a row for every window of every cell."""
    here = [subsample(graph, place, level.stride) for place in (blobs.x, blobs.y)]
    found = [find_in_windows(graph, blobs, here, level.stride, window) for window in level.windows]
    for kind, width in WIDTHS.items():
        maps = graph.op("Concat", *(getattr(one, kind) for one in found), axis=1)  # (1, 2 · width, h, w)
        last = graph.op("Transpose", maps, perm=[0, 2, 3, 1])
        graph.op("Reshape", last, graph.integers(-1, width), name=f"{kind}_{level.stride}")


def find_in_windows(graph: Graph, blobs: Blobs, here: Sequence[str], stride: int, window: int) -> Found:
    """What lies in the window around each cell."""
    step = stride // CELL
    sums = window_sums(graph, blobs.sums, window, step, window // 2)  # (1, 19, h, w)
    around = window_sums(graph, graph.part(blobs.sums, 0, 1), window + 2, step, window // 2 + 1)
    discs = discs_of(graph, sums)
    is_face = graph.both(
        is_alone(graph, discs, around),
        is_round(graph, discs),
        is_near(graph, discs, here, stride),
        is_inside(graph, discs, blobs),
    )
    return Found(
        scores(graph, is_face, discs, here, stride),
        box(graph, discs, here, stride),
        keypoints(graph, sums, discs, here, stride),
    )


def discs_of(graph: Graph, sums: str) -> Discs:
    """A disc from its moments."""
    area, *moments = (graph.part(sums, i, i + 1) for i in range(4))
    some = graph.op("Add", area, graph.number(1e-6))
    x, y, squares = (graph.op("Div", moment, some) for moment in moments)
    middle = graph.op("Add", graph.op("Mul", x, x), graph.op("Mul", y, y))
    radius = graph.op("Sqrt", graph.op("Mul", area, graph.number(1 / math.pi)))
    return Discs(area, x, y, radius, graph.op("Sub", squares, middle))


def subsample(graph: Graph, x: str, stride: int) -> str:
    """One pixel of each cell, its first: SCRFD's anchors."""
    most = np.iinfo(np.int64).max
    ends, axes, steps = graph.integers(most, most), graph.integers(2, 3), graph.integers(stride, stride)
    return graph.op("Slice", x, graph.integers(0, 0), ends, axes, steps)


def is_alone(graph: Graph, discs: Discs, around: str) -> str:
    """All of it lies within the window, and it is large enough to be one."""
    outside = graph.op("Sub", around, discs.area)
    alone = graph.op("LessOrEqual", outside, graph.op("Mul", discs.area, graph.number(0.01)))
    return graph.both(alone, graph.op("GreaterOrEqual", discs.radius, graph.number(SMALLEST_RADIUS)))


def is_round(graph: Graph, discs: Discs) -> str:
    """Its spread is that of a disc, half its radius squared, and not that of two."""
    expected = graph.op("Mul", discs.area, graph.number(0.5 / math.pi))
    off = graph.op("Abs", graph.op("Sub", discs.spread, expected))
    return graph.op("LessOrEqual", off, graph.op("Mul", expected, graph.number(0.15)))


def is_near(graph: Graph, discs: Discs, here: Sequence[str], stride: int) -> str:
    """Its middle is in this cell or the next."""
    apart = [graph.op("Abs", graph.op("Sub", at, cell)) for at, cell in zip(discs.middle, here, strict=True)]
    return graph.both(*(graph.op("LessOrEqual", one, graph.number(stride)) for one in apart))


def is_inside(graph: Graph, discs: Discs, blobs: Blobs) -> str:
    """There is some room around it within the picture."""
    room = graph.op("Mul", discs.radius, graph.number(MARGIN))
    checks = []
    for at, places in ((discs.x, blobs.x), (discs.y, blobs.y)):
        checks.append(graph.op("GreaterOrEqual", at, room))
        last = graph.op("ReduceMax", places)
        checks.append(graph.op("LessOrEqual", graph.op("Add", at, room), last))
    return graph.both(*checks)


def scores(graph: Graph, found: str, discs: Discs, here: Sequence[str], stride: int) -> str:
    """0.95 for a face in the middle of its cell, a little less beside it."""
    apart = [graph.op("Abs", graph.op("Sub", at, cell)) for at, cell in zip(discs.middle, here, strict=True)]
    far = graph.op("Mul", graph.op("Add", *apart), graph.number(0.1 / stride))
    return graph.op("Mul", graph.op("Cast", found, to=TensorProto.FLOAT), graph.op("Sub", graph.number(0.95), far))


def box(graph: Graph, discs: Discs, here: Sequence[str], stride: int) -> str:
    """Distances to the left, top, right and bottom, in strides."""
    places = list(zip(discs.middle, here, strict=True))
    before = [graph.op("Add", graph.op("Sub", cell, at), discs.radius) for at, cell in places]
    after = [graph.op("Add", graph.op("Sub", at, cell), discs.radius) for at, cell in places]
    return graph.op("Mul", graph.op("Concat", *before, *after, axis=1), graph.number(1 / stride))


def keypoints(graph: Graph, sums: str, discs: Discs, here: Sequence[str], stride: int) -> str:
    """Where the spots are, or would be on an upright face, from the cell, in strides."""
    offsets = [
        graph.op("Sub", spot_place(graph, sums, discs, index, axis), here[axis])
        for index in range(len(SPOTS))
        for axis in (0, 1)
    ]
    return graph.op("Mul", graph.op("Concat", *offsets, axis=1), graph.number(1 / stride))


def spot_place(graph: Graph, sums: str, discs: Discs, index: int, axis: int) -> str:
    """The mean place of a spot's pixels, with its usual place counted as a thousandth of a pixel."""
    count = 4 + index
    moment = count + len(SPOTS) * (1 + axis)
    offset = graph.op("Mul", discs.radius, graph.number(SPOTS[index].place[axis]))
    usual = graph.op("Add", discs.middle[axis], offset)
    total = graph.op("Add", graph.part(sums, moment, moment + 1), graph.op("Mul", usual, graph.number(1e-3)))
    return graph.op("Div", total, graph.op("Add", graph.part(sums, count, count + 1), graph.number(1e-3)))
