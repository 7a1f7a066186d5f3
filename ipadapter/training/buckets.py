"""Aspect ratio buckets: pictures of about one size and many shapes, each step of one shape (NovelAI's scheme).

The order is, as all of a run, a function of the seed and of the place in the run alone. Nobody is left out: what does
not fill a step goes on in the next epoch.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from .draws import mix

STEP = 64  # pixels that every side is a multiple of


class BucketSize(NamedTuple):
    """Pixels."""

    height: int
    width: int

    @property
    def ratio(self) -> float:
        """Of its sides, logarithmic: 0 of a square, and as far from it whichever side is the longer."""
        return math.log(self.width / self.height)


@lru_cache(maxsize=8)
def bucket_sizes(resolution: int) -> tuple[BucketSize, ...]:
    """The square, and of each side from a half to twice the resolution the largest of no more pixels than the square.

    `resolution` is a multiple of 64.
    """
    sides = range(max(STEP, resolution // 2 // STEP * STEP), 2 * resolution + 1, STEP)
    pairs = [(side, resolution**2 // side // STEP * STEP) for side in sides]
    made = {BucketSize(*pair) for one, other in pairs if other for pair in ((one, other), (other, one))}
    return tuple(sorted(made, key=lambda size: size.ratio))


def nearest_bucket(height: int, width: int, resolution: int) -> BucketSize:
    """The bucket whose ratio of sides is nearest to a picture's; of several the largest."""
    wanted = BucketSize(height, width).ratio
    return min(bucket_sizes(resolution), key=lambda size: (abs(size.ratio - wanted), -size.height * size.width))


@dataclass(frozen=True)
class Buckets:
    """Which pictures are of one size: their numbers, by bucket."""

    members: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, sizes: Sequence[Hashable]) -> Buckets:
        """Pictures of the same size together, the sizes in the order in which they first come."""
        found: dict[Hashable, list[int]] = {}
        for number, size in enumerate(sizes):
            found.setdefault(size, []).append(number)
        return cls(tuple(map(tuple, found.values())))

    @property
    def counts(self) -> tuple[int, ...]:
        """Pictures of each."""
        return tuple(map(len, self.members))

    def picture(self, seed: int, position: int, step_size: int) -> int:
        """The picture at a position (0, 1, 2 …) of a run whose steps have so many examples, each of one bucket."""
        step, place = divmod(position, step_size)
        epoch, number = epoch_of(step, self.counts, step_size)
        bucket, turn = epoch_steps(seed, epoch, self.counts, step_size)[number]
        lap, index = divmod(turn * step_size + place, len(self.members[bucket]))
        return self.members[bucket][bucket_order(seed, bucket, lap, len(self.members[bucket]))[index]]


def steps_before(epoch: int, counts: Sequence[int], step_size: int) -> int:
    """Steps in all epochs before one: of each bucket as many as its pictures have filled by then."""
    return sum(epoch * count // step_size for count in counts)


def epoch_of(step: int, counts: Sequence[int], step_size: int) -> tuple[int, int]:
    """The epoch of a step of the run, and its number there."""
    pictures = sum(counts)
    most = (step + 1 + len(counts)) * step_size // pictures + 1  # by then there are more steps, whatever is left over
    epoch = bisect_right(range(most + 1), step, key=lambda number: steps_before(number, counts, step_size)) - 1
    return epoch, step - steps_before(epoch, counts, step_size)


@lru_cache(maxsize=4)
def epoch_steps(seed: int, epoch: int, counts: tuple[int, ...], step_size: int) -> list[tuple[int, int]]:
    """The steps of one epoch in their order: each its bucket, and the how-manieth of that bucket in the run it is."""
    turns = [
        (bucket, turn)
        for bucket, count in enumerate(counts)
        for turn in range(epoch * count // step_size, (epoch + 1) * count // step_size)
    ]
    generator = torch.Generator().manual_seed(mix(seed, "steps of epoch", epoch))
    return [turns[number] for number in torch.randperm(len(turns), generator=generator).tolist()]


@lru_cache(maxsize=128)
def bucket_order(seed: int, bucket: int, lap: int, pictures: int) -> list[int]:
    """The order in which a bucket's pictures come in one lap over them."""
    generator = torch.Generator().manual_seed(mix(seed, f"bucket {bucket}", lap))
    order: list[int] = torch.randperm(pictures, generator=generator).tolist()
    return order
