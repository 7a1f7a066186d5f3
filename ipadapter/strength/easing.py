"""How a change goes on its way, each named for where it is slow: from a share of the way to one of the change, 0 … 1.

The options of nodes are words that saved graphs hold, and "ease in" does not mean the same in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Easing = Callable[[float], float]


def even(way: float) -> float:
    return way


def slow_start(way: float) -> float:
    return 1 - math.cos(0.5 * math.pi * way)


def slow_end(way: float) -> float:
    return math.sin(0.5 * math.pi * way)


def slow_both(way: float) -> float:
    return 0.5 - 0.5 * math.cos(math.pi * way)


def jump(way: float) -> float:
    """Nothing until the end of the way."""
    return 0.0
