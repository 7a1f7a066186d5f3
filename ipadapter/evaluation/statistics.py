"""A mean and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
RESAMPLING_SEED = 0
AT_ONCE = 1_000_000  # numbers drawn at a time, which bounds the memory


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` values of `groups` groups; no interval where there is one group."""

    mean: float
    low: float | None
    high: float | None
    count: int
    groups: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f} (no interval: one reference says nothing of others)"
        return f"{self.mean:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"


def bootstrap_mean(values: Sequence[float], groups: Sequence[int], seed: int = RESAMPLING_SEED) -> Estimate:
    """The mean of all values with its percentile bootstrap interval.

    Whole groups are drawn (Efron's cluster bootstrap), since pictures of one reference are alike: 2000 resamples,
    seeded, so that the same values always give the same interval.
    """
    numbers, labels = np.asarray(values, dtype=np.float64), np.asarray(groups)
    _, member = np.unique(labels, return_inverse=True)
    sums, counts = np.bincount(member, weights=numbers), np.bincount(member)
    mean = float(numbers.mean())
    if len(sums) < 2:
        return Estimate(mean, None, None, len(numbers), len(sums))
    low, high = np.quantile(resampled_means(sums, counts, seed), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(mean, float(low), float(high), len(numbers), len(sums))


def resampled_means(sums: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """Means of RESAMPLES draws of as many groups as there are, with replacement, (RESAMPLES,)."""
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    rows = max(1, AT_ONCE // len(sums))
    for start in range(0, RESAMPLES, rows):
        part = means[start : start + rows]
        drawn = generator.integers(0, len(sums), (len(part), len(sums)))  # (rows, groups)
        part[:] = sums[drawn].sum(1) / counts[drawn].sum(1)
    return means
