"""K' and V' of one image prompt for calls of one shape, a row for each picture, as the call's moment asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

StillAndScaled = tuple[Tensor, Tensor | None]


class Rows(Protocol):
    """Rows (G · pictures, N) that the branches of a call are views of, changed in place."""

    rows: Tensor

    @property
    def size(self) -> int:
        """Bytes held."""

    def turn(self, level: float, sigma: Callable[[], float]) -> None:
        """Bring the rows to a level, and to a noise level where they follow it: asking for that may be dear."""


class Dial:
    """K' and V' of one application for calls of one shape, at a level that may change from call to call.

    Made from `still` and `scaled` (G, N), it holds a row for each picture: (G · pictures, N).
    """

    def __init__(self, still: Tensor, scaled: Tensor | None, pictures: int) -> None:
        self.still = spread_pictures(still, pictures)
        self.scaled = None if scaled is None else spread_pictures(scaled, pictures)
        self.turned = spread_pictures(still if scaled is None else still + scaled, pictures).contiguous()
        self.rows = self.turned.flatten(0, 1)
        self.level = 1.0

    @property
    def size(self) -> int:
        """Bytes, of what it is made from too."""
        held = [one.untyped_storage() for one in (self.still, self.scaled, self.turned) if one is not None]
        return sum({storage.data_ptr(): storage.nbytes() for storage in held}.values())

    def turn(self, level: float, sigma: Callable[[], float]) -> None:
        """Bring the rows to a level, in place. They are the same at every noise level."""
        if self.scaled is not None and level != self.level:
            torch.add(self.still, self.scaled, alpha=level, out=self.turned)
            self.level = level


def spread_pictures(rows: Tensor, pictures: int) -> Tensor:
    """Each row once for each picture: (G, N) to (G, pictures, N), a view."""
    return rows.unsqueeze(1).expand(-1, pictures, -1)
