"""Rectangles of a picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels of the picture; it may reach beyond it."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, x: Tensor, outside: float = 0.0) -> Tensor:
        """That part of pictures (N, c, H, W), filled up with `outside`."""
        height, width = x.shape[2:]
        around = (-self.left, self.left + self.width - width, -self.top, self.top + self.height - height)
        return pad(x, around, value=outside)  # numbers below 0 cut
