"""How strongly, and during which part of the sampling, an image prompt acts."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import IPAdapterError


@dataclass(frozen=True)
class Strength:
    """λ of the paper's eq. 8 and a window of the sampling: `start` and `end` in 0 (first step) … 1 (last)."""

    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if sentence := empty_window(self.start, self.end):
            raise IPAdapterError(sentence)

    @property
    def always(self) -> bool:
        """Whether the window is the whole sampling."""
        return self.start <= 0.0 and self.end >= 1.0


def empty_window(start: float, end: float) -> str | None:
    """The sentence for a window in which an image prompt would never act, or None for one that is fine."""
    if start < end:
        return None
    return (
        f"start_at ({start:g}) is not before end_at ({end:g}), so the image prompt would never act: give it a window "
        "such as 0 to 1."
    )
