"""How strongly an image prompt acts: a weight, by layer, by the time in the sampling, by picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from ..errors import IPAdapterError
from ..numbers import PART, WEIGHT, require, require_all, show
from .curve import WeightCurve
from .layers import LayerRule, PresetRule


class Scaling(str, Enum):
    """What of the image attention a strength scales; `scaling.py` has the formulas."""

    VALUES = "V only"
    KEYS_AND_VALUES = "K+V"
    KEYS_AND_VALUES_BY_WIDTH = "K+V w/ C penalty"
    KEYS_AND_MEAN_BY_WIDTH = "K+mean(V) w/ C penalty"


@dataclass(frozen=True)
class Strength:
    """λ of the paper's eq. 8, and what it is multiplied by.

    `start` and `end` are the part of the sampling in which it acts, 0 (first step) … 1 (last). `layers` multiply by
    cross-attention layer, `curves` by the position in the sampling, `frames` by picture.
    """

    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    layers: tuple[LayerRule, ...] = ()
    curves: tuple[WeightCurve, ...] = ()
    frames: tuple[float, ...] | None = None
    scaling: Scaling = Scaling.VALUES

    def __post_init__(self) -> None:
        require(self.weight, "weight", WEIGHT)
        require_all(self.frames or (), "a weight by frame", WEIGHT)
        if sentence := window_fault(self.start, self.end):
            raise IPAdapterError(sentence)

    @property
    def always(self) -> bool:
        """Whether the window is the whole sampling."""
        return self.start <= 0.0 and self.end >= 1.0

    def level(self, at: float) -> float:
        """The product of the curves at a position in the sampling, 0 … 1."""
        level = 1.0
        for curve in self.curves:
            level *= curve.value(at)
        return level


@dataclass(frozen=True)
class StrengthParts:
    """The `IMAGE_PROMPT_STRENGTH` socket: what layer, curve and frame nodes add to a weight."""

    layers: tuple[LayerRule, ...] = ()
    curves: tuple[WeightCurve, ...] = ()
    frames: tuple[float, ...] | None = None

    def with_layers(self, rule: LayerRule) -> StrengthParts:
        """Weights by layer, beside those there are."""
        return StrengthParts((*self.layers, rule), self.curves, self.frames)

    def with_curve(self, curve: WeightCurve) -> StrengthParts:
        """A curve over the sampling, beside those there are."""
        return StrengthParts(self.layers, (*self.curves, curve), self.frames)

    def with_frames(self, weights: tuple[float, ...]) -> StrengthParts:
        """Weights by picture, multiplied by those there are."""
        return StrengthParts(self.layers, self.curves, multiply_frames(self.frames, weights))


def make_strength(plain: Strength, preset: str, parts: StrengthParts | None) -> Strength:
    """A weight and window, with the layers of a preset and what strength nodes add."""
    more = parts or StrengthParts()
    rules = (PresetRule(preset), *more.layers)
    return replace(plain, layers=rules, curves=more.curves, frames=more.frames)


def multiply_frames(first: tuple[float, ...] | None, second: tuple[float, ...]) -> tuple[float, ...]:
    """Two lists of weights by picture as one. Raises IPAdapterError where their lengths differ."""
    if first is None:
        return second
    if len(first) != len(second):
        raise IPAdapterError(
            f"the strength has weights for {len(first)} frames and is given weights for {len(second)}: make both lists "
            "equally long."
        )
    return tuple(one * other for one, other in zip(first, second, strict=True))


def window_fault(start: float, end: float) -> str | None:
    """The sentence for a window outside the sampling, or in which an image prompt would never act; None for others."""
    for name, at in (("start_at", start), ("end_at", end)):
        if not PART.holds(at):
            return f"{name} is {show(at)}, where {PART} is needed: 0 is the first step, 1 the last."
    if start < end:
        return None
    return (
        f"start_at ({start:g}) is not before end_at ({end:g}), so the image prompt would never act: give it a window "
        "such as 0 to 1."
    )
