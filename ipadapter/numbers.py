"""Every number that enters, typed, linked or read from a file: finite and in range, or a sentence that names it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import IPAdapterError

MOST_SHOWN = 40  # characters of what was given


@dataclass(frozen=True)
class Range:
    """From where to where a number may be, both included."""

    low: float
    high: float
    whole: bool = False

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {show(self.low)} to {show(self.high)}"

    def holds(self, value: object) -> bool:
        """Whether something is such a number."""
        if not isinstance(value, (int, float)):
            return False
        if not self.low <= value <= self.high:  # false for NaN too
            return False
        return not self.whole or value == int(value)


WEIGHT = Range(-1000.0, 1000.0)  # λ and all it is multiplied by
PART = Range(0.0, 1.0)  # of the sampling, of a draw


def require(value: object, what: str, allowed: Range) -> None:
    """Raises IPAdapterError, with what the number is for, for one that is none or out of range."""
    if not allowed.holds(value):
        raise IPAdapterError(f"{what} is {show(value)}, where {allowed} is needed.")


def require_all(values: Iterable[object], what: str, allowed: Range) -> None:
    """The same for each of some."""
    for value in values:
        require(value, what, allowed)


def show(value: object) -> str:
    """A value in few characters."""
    if isinstance(value, int) and abs(value) >= 10**MOST_SHOWN:
        return "a number of more than 40 digits"
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return f"{value:g}"
    return shorten(repr(value))


def shorten(text: str) -> str:
    """The beginning of what was given, in characters that can be seen."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
