"""Times as paired ratios: contestants in alternation, so that whatever else the machine does falls on all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median, and an interval that holds the true one at least 95 times in 100."""

    middle: float
    low: float
    high: float


class Stopwatch:
    """Seconds from lap to lap, the device's part of the work included."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start = self.now()

    def now(self) -> float:
        wait(self.device)
        return time.perf_counter()

    def lap(self) -> float:
        last, self.start = self.start, self.now()
        return self.start - last


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def alternate(works: Sequence[Callable[[], object]], rounds: int, device: torch.device) -> list[list[float]]:
    """Seconds of each piece of work, a list each, after one round that is not counted."""
    for work in works:
        work()
    taken: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        for index in alternating(len(works), number):
            watch = Stopwatch(device)
            works[index]()
            taken[index].append(watch.lap())
    return taken


def alternating(count: int, number: int) -> list[int]:
    """The order of a round: every second one backwards, so that none always follows the same other."""
    return list(range(count))[:: -1 if number % 2 else 1]


def ratio(taken: Sequence[float], reference: Sequence[float]) -> Interval:
    """The median of the rounds' ratios."""
    return median_interval([ours / theirs for ours, theirs in zip(taken, reference, strict=True)])


def median_interval(values: Sequence[float]) -> Interval:
    """The median with the order statistics around it that enclose the true one with the confidence wanted."""
    ordered, skip = sorted(values), outer_ranks(len(values))
    return Interval(median(ordered), ordered[skip], ordered[-1 - skip])


def outer_ranks(count: int) -> int:
    """How many values each end of a sample may lose: fewer lie beyond the median by a fair coin's odds."""
    tail, rank = 0.5**count, 0
    while tail + math.comb(count, rank + 1) * 0.5**count <= (1 - CONFIDENCE) / 2:
        rank += 1
        tail += math.comb(count, rank) * 0.5**count
    return rank
