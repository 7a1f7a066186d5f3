"""Every random number of a run, as a function of the seed and of the example's position in the run.

Nothing is carried from one step to the next, so a run that is resumed, or spread over several processes, sees the very
numbers of one that is neither.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """The random numbers of one example."""

    index: int  # of the picture
    time: float  # uniform in 0 … 1: the noise level
    drop: float  # uniform in 0 … 1: decides what is dropped
    noise_seed: int

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(self.noise_seed))


def draw_example(seed: int, position: int, pictures: int) -> Draw:
    """The draw for the example at a position (0, 1, 2 …) of a run over so many pictures.

    Pictures are visited in a new order each epoch, every one once.
    """
    epoch, place = divmod(position, pictures)
    generator = torch.Generator().manual_seed(mix(seed, "example", position))
    time, drop = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    return Draw(order(seed, epoch, pictures)[place], time, drop, mix(seed, "noise", position))


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, pictures: int) -> list[int]:
    """The order of one epoch."""
    generator = torch.Generator().manual_seed(mix(seed, "epoch", epoch))
    return torch.randperm(pictures, generator=generator).tolist()


def mix(seed: int, purpose: str, number: int) -> int:
    """A seed of its own for each purpose and number."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
