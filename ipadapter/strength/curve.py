"""A weight that changes in the course of the sampling.

Positions are those of `start_at` and `end_at`: 0 is the first step of a whole sampling, 1 the end of the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from ..errors import IPAdapterError
from ..numbers import PART, WEIGHT, require_all, shorten
from ..typed import NUMBER, entries, weighed
from .easing import Easing, even, jump, slow_both, slow_end, slow_start

Keyframe = tuple[float, float]  # position, weight


class Interpolation(str, Enum):
    """How a weight goes from one keyframe to the next."""

    LINEAR = "linear"
    SMOOTH = "smooth"
    EASE_IN = "ease in"
    EASE_OUT = "ease out"
    STEP = "step"


CURVE_EASINGS: dict[Interpolation, Easing] = {
    Interpolation.LINEAR: even,
    Interpolation.SMOOTH: slow_both,
    Interpolation.EASE_IN: slow_start,
    Interpolation.EASE_OUT: slow_end,
    Interpolation.STEP: jump,
}


@dataclass(frozen=True)
class WeightCurve:
    """Keyframes in the order of their positions; before the first and after the last the weight stays."""

    points: tuple[Keyframe, ...]
    interpolation: Interpolation = Interpolation.LINEAR

    def __post_init__(self) -> None:
        require_all((at for at, _ in self.points), "a position of the curve", PART)
        require_all((weight for _, weight in self.points), "a weight of the curve", WEIGHT)

    def value(self, at: float) -> float:
        """The weight at a position."""
        before = [point for point in self.points if point[0] <= at]
        after = [point for point in self.points if point[0] > at]
        if not before or not after:
            return (before[-1] if before else after[0])[1]
        (left, low), (right, high) = before[-1], after[0]
        return low + (high - low) * CURVE_EASINGS[self.interpolation]((at - left) / (right - left))


KEYFRAME = weighed(rf"({NUMBER})\s*(%?)")


def read_keyframes(text: str, interpolation: Interpolation) -> WeightCurve:
    """Keyframes as a person types them: `0: 1, 0.5: 0.3` or one a line, positions as fractions or in percent.

    Raises IPAdapterError naming the entry that cannot be read.
    """
    typed = entries(text, r",;\n")
    if not typed:
        raise IPAdapterError("keyframes are empty: write position: weight, such as 0: 1, 0.5: 0.3.")
    return WeightCurve(in_order([read_keyframe(entry) for entry in typed]), interpolation)


def read_keyframe(entry: str) -> Keyframe:
    """One entry."""
    match = KEYFRAME.match(entry)
    if not match:
        raise IPAdapterError(f"keyframe '{shorten(entry)}' cannot be read: write position: weight, such as 0.5: 0.3.")
    at = float(match[1]) / (100 if match[2] else 1)
    if not PART.holds(at):
        raise IPAdapterError(
            f"keyframe '{shorten(entry)}' is outside the sampling: positions go from 0 to 1 (0% to 100%)."
        )
    return at, float(match[3])


def in_order(points: Sequence[Keyframe]) -> tuple[Keyframe, ...]:
    """Sorted by position; of two at one position the later counts."""
    return tuple(sorted(dict(points).items()))


def tabulate(curve: Callable[[float], float], low: float, high: float, size: int = 257) -> WeightCurve:
    """A function over 0 … 1 with values in 0 … 1 as a curve of weights from `low` to `high`."""
    positions = [index / (size - 1) for index in range(size)]
    return WeightCurve(tuple((at, low + (high - low) * curve(at)) for at in positions))
