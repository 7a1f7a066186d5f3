"""A small InsightFace model pack: a detector with SCRFD's outputs and a recognition model with ArcFace's.

Nothing in it was ever trained. The detector finds discs that are as red as SKIN, which `tests/faces.py` draws; the
recognition model tells any two pictures apart by random weights. The library loads both as it loads the public packs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SKIN = (232, 180, 140)  # red, green, blue, of 255; only red is looked at
DETECTOR_MEAN, DETECTOR_STD = 127.5, 128.0  # what the library makes of a detector's pictures
REACH = 320  # pixels that a disc's edge is looked for from its middle
STRIDES = (8, 16, 32)
ANCHORS = 2  # at each place, as SCRFD has them; the second never finds anything
# From the middle of the box, of its half sides: eyes, nose, corners of the mouth.
FACE_POINTS = ((-0.35, -0.3), (0.35, -0.3), (0.0, 0.05), (-0.3, 0.45), (0.3, 0.45))
IDENTITY = (3, 112, 112)  # what ArcFace reads
EMBEDDING = 512
OPSET = 17

Draw = Callable[[str, tuple[int, ...], float], np.ndarray]  # noise by name, shape and standard deviation


@dataclass
class Graph:
    """An ONNX graph that grows."""

    nodes: list[onnx.NodeProto]
    weights: list[onnx.TensorProto]

    def constant(self, name: str, values: np.ndarray) -> str:
        """A named array."""
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output of its own name."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name


def detector() -> onnx.ModelProto:
    """Discs by how far their colour reaches to the left, right, top and bottom."""
    graph = Graph([], [])
    mask = disc_mask(graph)
    outputs = [[named for named in stride_outputs(graph, mask, stride)] for stride in STRIDES]
    widths = (1, 4, 10)
    values = [
        helper.make_tensor_value_info(outputs[i][kind], TensorProto.FLOAT, ["places", width])
        for kind, width in enumerate(widths)
        for i in range(len(STRIDES))
    ]
    picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "?", "?"])
    return model("det_10g", graph, picture, values)


def disc_mask(graph: Graph) -> str:
    """(1, 1, H, W): 1 where a pixel is as red."""
    graph.constant("redness", np.float32((SKIN[0] - DETECTOR_MEAN) / DETECTOR_STD))
    graph.constant("red_alone", np.array([1, 0, 0], dtype=np.float32).reshape(1, 3, 1, 1))
    graph.constant("near", np.float32(0.25))
    graph.constant("steep", np.float32(20.0))
    graph.constant("zero", np.float32(0.0))
    graph.constant("one", np.float32(1.0))
    red = graph.add("Conv", "red", "input.1", "red_alone")
    distance = graph.add("Abs", "distance", graph.add("Sub", "difference", red, "redness"))
    nearness = graph.add("Mul", "nearness", graph.add("Sub", "within", "near", distance), "steep")
    mask = graph.add("Clip", "mask", nearness, "zero", "one")
    graph.add("Add", "everything", graph.add("Mul", "none", mask, "zero"), "one")
    return mask


def stride_outputs(graph: Graph, mask: str, stride: int) -> tuple[str, str, str]:
    """Scores, boxes and points at every place of a stride. Only the finest finds anything."""
    left, right, top, bottom = reaches(graph, mask, stride)
    score = middleness(graph, mask, stride, [left, right, top, bottom])
    if stride != STRIDES[0]:
        score = graph.add("Mul", f"quiet_{stride}", score, "zero")
    scale = graph.constant(f"stride_{stride}", np.float32(1 / stride))
    box = graph.add("Concat", f"edges_{stride}", left, top, right, bottom, axis=1)  # SCRFD's order
    points = points_of(graph, box, stride)
    return tuple(  # type: ignore[return-value]
        places(graph, graph.add("Mul", f"{name}_scaled_{stride}", found, factor), name, stride, width)
        for name, found, factor, width in (
            ("score", score, "one", 1),
            ("bbox", box, scale, 4),
            ("kps", points, scale, 10),
        )
    )


KERNELS = {  # and how many pixels are added (top, left, bottom, right)
    "left": ((1, REACH + 1), (0, REACH, 0, 0)),
    "right": ((1, REACH + 1), (0, 0, 0, REACH)),
    "top": ((REACH + 1, 1), (REACH, 0, 0, 0)),
    "bottom": ((REACH + 1, 1), (0, 0, REACH, 0)),
}


def reaches(graph: Graph, mask: str, stride: int) -> list[str]:
    """Pixels of a mask to each side of every place, (1, 1, h, w)."""
    made = []
    for side, (kernel, pads) in KERNELS.items():
        name = f"{mask}_{side}_{stride}"
        weight = graph.constant(f"{name}_weight", np.ones((1, 1, *kernel), dtype=np.float32))
        made.append(graph.add("Conv", name, mask, weight, pads=pads, strides=[stride, stride]))
    return made


def middleness(graph: Graph, mask: str, stride: int, sides: list[str]) -> str:
    """1 in the middle of a disc, less towards its edges, 0 outside and where it goes on to the picture's edge."""
    weight = graph.constant(f"here_weight_{stride}", np.ones((1, 1, 1, 1), dtype=np.float32))
    score = graph.add("Conv", f"here_{stride}", mask, weight, strides=[stride, stride])
    for index, (side, room) in enumerate(zip(sides, reaches(graph, "everything", stride), strict=True)):
        name = f"{stride}_{index}"
        ends = graph.add("Clip", f"ends_{name}", graph.add("Sub", f"beyond_{name}", room, side), "zero", "one")
        score = graph.add("Mul", f"ended_{name}", score, ends)
    for axis in (0, 2):
        name, pair = f"{stride}_{axis}", sides[axis : axis + 2]
        larger = graph.add("Max", f"larger_{name}", *pair, "one")
        ratio = graph.add("Div", f"ratio_{name}", graph.add("Min", f"smaller_{name}", *pair), larger)
        score = graph.add("Mul", f"middle_{name}", score, ratio)
    return score


def points_of(graph: Graph, box: str, stride: int) -> str:
    """(1, 10, h, w): the five points' offsets from a place, as linear maps of its four distances."""
    weight = np.zeros((10, 4, 1, 1), dtype=np.float32)
    for index, (x, y) in enumerate(FACE_POINTS):
        weight[2 * index, [0, 2], 0, 0] = (-1 - x) / 2 + x, (1 + x) / 2  # middle (right - left) / 2, half their sum
        weight[2 * index + 1, [1, 3], 0, 0] = (-1 - y) / 2 + y, (1 + y) / 2
    return graph.add("Conv", f"points_{stride}", box, graph.constant(f"points_weight_{stride}", weight))


def places(graph: Graph, found: str, name: str, stride: int, width: int) -> str:
    """(1, width, h, w) to (h · w · ANCHORS, width), the other anchors 0."""
    nothing = graph.add("Mul", f"{name}_nothing_{stride}", found, "zero")
    both = graph.add("Concat", f"{name}_anchors_{stride}", found, *[nothing] * (ANCHORS - 1), axis=1)
    rows = graph.add("Transpose", f"{name}_rows_{stride}", both, perm=[0, 2, 3, 1])
    shape = graph.constant(f"{name}_shape_{stride}", np.array([-1, width], dtype=np.int64))
    return graph.add("Reshape", f"{name}_{stride}", rows, shape)


def recogniser(draw: Draw) -> onnx.ModelProto:
    """Two convolutions and a linear map of a face's picture, at random."""
    graph = Graph([], [])
    shapes = {"first": (8, 3, 7, 7), "second": (16, 8, 4, 4), "last": (256, EMBEDDING)}
    for name, shape in shapes.items():
        inputs = int(np.prod(shape[1:]) if len(shape) > 2 else shape[0])
        graph.constant(name, draw(name, shape, 2 / inputs**0.5))
    first = graph.add("Relu", "first_out", graph.add("Conv", "first_map", "input.1", "first", strides=[7, 7]))
    second = graph.add("Relu", "second_out", graph.add("Conv", "second_map", first, "second", strides=[4, 4]))
    graph.add("MatMul", "683", graph.add("Flatten", "flat", second), "last")
    picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["None", *IDENTITY])
    output = helper.make_tensor_value_info("683", TensorProto.FLOAT, ["None", EMBEDDING])
    return model("w600k_r50", graph, picture, [output])


def model(name: str, graph: Graph, into: onnx.ValueInfoProto, out: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """The whole as a file's content."""
    made = helper.make_graph(graph.nodes, name, [into], out, graph.weights)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(made, producer_name="stand-in", opset_imports=[opset], ir_version=8)
