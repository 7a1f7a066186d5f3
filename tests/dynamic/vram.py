"""What the host's `main.py` switches on where a card allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import comfy.memory_management
import comfy.model_management
import comfy.ops

T = TypeVar("T")


@contextmanager
def dynamic_vram(on: bool) -> Iterator[None]:
    """Layers that the host builds meanwhile have no parameters until they are loaded, or have them as ever.

    Older versions build so on Windows alone.
    """
    before = comfy.memory_management.aimdo_enabled, comfy.model_management.WINDOWS
    comfy.memory_management.aimdo_enabled, comfy.model_management.WINDOWS = on, on or before[1]
    try:
        yield
    finally:
        comfy.memory_management.aimdo_enabled, comfy.model_management.WINDOWS = before


def both_ways(make: Callable[[], T]) -> tuple[T, T]:
    """The same made with dynamic VRAM and without."""
    made = []
    for on in (True, False):
        with dynamic_vram(on):
            made.append(make())
    return made[0], made[1]


def is_lazy() -> bool:
    """Whether a layer of the host has no weight before it is loaded."""
    return comfy.ops.manual_cast.Linear(2, 2).weight is None
