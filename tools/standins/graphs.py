"""ONNX graphs, an operation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8


@dataclass
class Graph:
    """A graph in the making: each operation gives the name of its output."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """One operation."""
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"node_{output}", **attributes))
        return output

    def number(self, value: float) -> str:
        """A float."""
        return self.constant(np.float32(value))

    def integers(self, *values: int) -> str:
        """A vector of integers."""
        return self.constant(np.array(values, dtype=np.int64))

    def constant(self, value: Any) -> str:
        """Any array."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def part(self, x: str, start: int, stop: int, axis: int = 1) -> str:
        """Some of the channels."""
        return self.op("Slice", x, self.integers(start), self.integers(stop), self.integers(axis))

    def both(self, *conditions: str) -> str:
        """Whether all hold."""
        first, *others = conditions
        for other in others:
            first = self.op("And", first, other)
        return first

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """The finished model."""
        graph = helper.make_graph(self.nodes, "stand_in", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="stand-in")
        onnx.checker.check_model(model, full_check=True)
        return model


def floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    """An input or output of floats."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
