"""K' and V' of one image prompt where they follow the noise level: made for each that a run comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .packing import ChosenRows, Packed
from .rows import Rows, StillAndScaled

LEVELS_KEPT = 2  # noise levels: samplers of second order come back to the one before


@dataclass(frozen=True, eq=False)
class Following:
    """`make` packs K' and V' of a noise level, N = `width` numbers a row, with the weights of `models`."""

    make: Callable[[float], Packed]
    width: int
    positives: int
    negatives: int
    models: tuple[Any, ...]

    def to(self, device: torch.device, dtype: torch.dtype) -> NoiseLevels:
        """For calls there."""
        return NoiseLevels(self, device, dtype)


class NoiseLevels:
    """What has been made for the latest noise levels of a run."""

    def __init__(self, source: Following, device: torch.device, dtype: torch.dtype) -> None:
        self.source = source
        self.placed = (device, dtype)
        self.made: dict[float, Packed] = {}

    def at(self, sigma: float) -> Packed:
        """K' and V' of a noise level."""
        if sigma not in self.made:
            self.made = dict([*self.made.items()][1 - LEVELS_KEPT :])
            self.made[sigma] = self.source.make(sigma).to(*self.placed)
        return self.made[sigma]

    def take(self, chosen: ChosenRows) -> Rows:
        """Rows that are filled anew at each noise level."""
        device, dtype = self.placed
        turned = torch.zeros(len(chosen.rows), chosen.pictures, self.source.width, device=device, dtype=dtype)
        return FollowingRows(lambda sigma: self.at(sigma).choose(chosen), turned)


class FollowingRows:
    """`Rows` of which `at` gives `still` and `scaled`, (G, N), at a noise level."""

    def __init__(self, at: Callable[[float], StillAndScaled], turned: Tensor) -> None:
        self.at = at
        self.turned = turned  # (G, pictures, N)
        self.rows = turned.flatten(0, 1)
        self.now: tuple[float, float] | None = None

    @property
    def size(self) -> int:
        """Bytes held."""
        return self.turned.untyped_storage().nbytes()

    def turn(self, level: float, sigma: Callable[[], float]) -> None:
        """Bring the rows to a level and a noise level, in place."""
        now = (level, sigma())
        if now != self.now:
            still, scaled = self.at(now[1])
            rows = still if scaled is None else torch.add(still, scaled, alpha=level)
            self.turned.copy_(rows.unsqueeze(1))
            self.now = now
