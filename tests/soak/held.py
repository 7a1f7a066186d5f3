"""Whether what a server holds grows from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import theilslopes

WARM_UP = 0.2  # of the samples, in which libraries fill what they keep
CONFIDENCE = 0.95
# What may come on top of a hundred runs: five tensors, half of any other thing, and 5 MB, which for Python's smallest
# objects, of 32 bytes, are so many. (safetensors 0.8.0 keeps two numbers of every tensor that it has read.)
MEGABYTES = 0.05
MOST: Mapping[str, float] = {
    "tensors": 0.05,
    "models": 0.005,
    "threads": 0.005,
    "files": 0.005,
    "objects": MEGABYTES * 2**20 / 32,
    "megabytes": MEGABYTES,
    "resident": MEGABYTES,
}


@dataclass(frozen=True)
class Sample:
    """What was held after so many runs, once the host had let go of its models and results."""

    runs: int
    held: Mapping[str, float]


@dataclass(frozen=True)
class Growth:
    """One quantity's slope a run (Theil-Sen), and the least that it is with confidence."""

    name: str
    first: float
    last: float
    slope: float
    least: float

    @property
    def is_leak(self) -> bool:
        """Grows for certain, and by more than may be."""
        return self.least > 0 and self.slope > MOST[self.name]

    def __str__(self) -> str:
        said = "LEAKS" if self.is_leak else "steady"
        return (
            f"{self.name:10} {self.first:10.1f} to {self.last:10.1f}   {self.slope:+.4f} a run "
            f"(at least {self.least:+.4f}; may be {MOST[self.name]:.4g})  {said}"
        )


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """The slope of everything, without the warm-up. Needs three samples and more."""
    kept = samples[int(len(samples) * WARM_UP) :]
    return [growth(name, kept) for name in MOST]


def growth(name: str, samples: Sequence[Sample]) -> Growth:
    values, runs = [sample.held[name] for sample in samples], [sample.runs for sample in samples]
    slope, _, least, _ = theilslopes(values, runs, CONFIDENCE)
    return Growth(name, values[0], values[-1], float(slope), float(least))
