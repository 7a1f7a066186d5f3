"""How fast a run was, and how long the paper's whole protocol takes at that pace."""

from __future__ import annotations

from dataclasses import dataclass

from .summary import PAPERS_IMAGES, PAPERS_PICTURES

WHOLE_PROTOCOL = PAPERS_IMAGES * PAPERS_PICTURES  # pictures of the paper's protocol
UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


@dataclass(frozen=True)
class Pace:
    """Pictures that one process has drawn and measured, in so many seconds; `processes` of them do so at a time."""

    pictures: int
    seconds: float
    processes: int = 1

    @property
    def a_minute(self) -> float:
        """Of all processes, which do about as much each."""
        return 60 * self.pictures * self.processes / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        spent, whole = (time_in_words(seconds) for seconds in (self.seconds, 60 * WHOLE_PROTOCOL / self.a_minute))
        mine = "" if self.processes == 1 else f", this being one of {self.processes} processes"
        return (
            f"{self.pictures} picture(s) drawn and measured in {spent}{mine}: {self.a_minute:.3g} a minute. The "
            f"paper's {WHOLE_PROTOCOL:,} take {whole} at this pace."
        )


def time_in_words(seconds: float) -> str:
    """In the largest unit of which there are two or more."""
    size, name = next((unit for unit in UNITS if seconds >= 2 * unit[0]), UNITS[-1])
    return f"{seconds / size:.1f} {name}"
