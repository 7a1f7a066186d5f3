"""A recognition model of random weights, with the interface of InsightFace's.

The same face gives about the same embedding wherever it is, and another face another one, and that is all it knows.
"""

from __future__ import annotations

import onnx

from .graphs import Graph, floats
from .noise import Noise

EMBEDDING, CROP, PATCH, FEATURES, GAIN = 512, 112, 16, 4, 10.0


def recogniser(noise: Noise) -> onnx.ModelProto:
    """Aligned crops (N, 3, 112, 112), RGB, normalised, to embeddings (N, 512) of about the norm real ones have."""
    graph = Graph()
    kernel = noise.cut("conv", (FEATURES, 3, PATCH, PATCH), GAIN * (3 * PATCH**2) ** -0.5)
    cells = (CROP // PATCH) ** 2
    matrix = noise.cut("fc", (FEATURES * cells, EMBEDDING), 0.1)
    features = graph.op(
        "Conv", "input.1", graph.constant(kernel.float().numpy()), kernel_shape=[PATCH] * 2, strides=[PATCH] * 2
    )
    flat = graph.op("Flatten", graph.op("Sin", features))  # small differences of colour turn into large ones
    graph.op("MatMul", flat, graph.constant(matrix.float().numpy()), name="683")
    return graph.model([floats("input.1", "None", 3, CROP, CROP)], [floats("683", "None", EMBEDDING)])
