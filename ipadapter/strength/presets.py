"""Weights by layer that people know by name: those that any model can have, and those of each kind of model."""

from __future__ import annotations

from collections.abc import Callable

from ..backbones.presets import ByPart, LayerPreset, Slope
from ..backbones.unet_presets import UNET_PRESETS

LINEAR = "linear"
FLOOR = 0.05


def sloped(share: Callable[[float], float]) -> Slope:
    """From `FLOOR` to 1 as `share` goes from 0 to 1."""
    return Slope(lambda t, count: FLOOR + (1 - FLOOR) * share(t / count))


GENERAL: dict[str, LayerPreset] = {
    LINEAR: ByPart({}),
    "ease in": sloped(lambda x: 1 - x),
    "ease out": sloped(lambda x: x),
    "ease in-out": sloped(lambda x: 1 - abs(2 * x - 1)),
    "reverse in-out": sloped(lambda x: abs(2 * x - 1)),
}
# What nodes offer, before they know the model. One that a model does not have is refused when the node runs.
LAYER_PRESETS: tuple[str, ...] = tuple(GENERAL | UNET_PRESETS)
