"""Telling how far something is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]  # told how many of how many are done


def no_progress(done: int, of: int) -> None:
    """Nobody is watching."""
