"""Where in the picture an image prompt acts: a mask brought to the size of each layer's activations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import IPAdapterError
from ..images.masks import Size


def resize_mask(mask: Tensor, size: Size) -> Tensor:
    """(M, H, W) to (M, h · w, 1), bicubic as the reference does it (diffusers `IPAdapterMaskProcessor`)."""
    resized = interpolate(mask.unsqueeze(1), size=size, mode="bicubic")  # (M, 1, h, w)
    return rearrange(resized, "m 1 h w -> m (h w) 1")


@dataclass(frozen=True)
class Cut:
    """The part of the latent picture that a call sees: rows and columns of it, in the call's order."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @staticmethod
    def box(top: int, left: int, height: int, width: int) -> Cut:
        """A rectangle."""
        return Cut(tuple(range(top, top + height)), tuple(range(left, left + width)))

    def within(self, seen: Cut) -> Cut:
        """The same part of what is seen of the picture. Raises IPAdapterError where that does not reach so far."""
        rows, columns = (
            tuple(indices[at] for at in part if at < len(indices))
            for part, indices in ((self.rows, seen.rows), (self.columns, seen.columns))
        )
        if not rows or not columns:
            raise IPAdapterError(
                f"the area of a conditioning begins at latent row {self.rows[0]}, column {self.columns[0]}, beyond a "
                f"context window of {len(seen.rows)} × {len(seen.columns)}, out of which ComfyUI cuts areas: use "
                "larger windows, or a mask in place of the area."
            )
        return Cut(rows, columns)


def cut_mask(mask: Tensor, cut: Cut, latent: Size, pixels: int) -> Tensor:
    """The part of a mask (M, H, W) that lies over a part of the latent picture, (M, p h, p w).

    A latent pixel stands for `pixels`, p, of the picture along each side.
    """
    size = (latent[0] * pixels, latent[1] * pixels)
    if tuple(mask.shape[1:]) != size:
        mask = interpolate(mask.float().unsqueeze(1), size=size, mode="bicubic").squeeze(1).to(mask.dtype)
    rows, columns = (spread_pixels(indices, mask.device, pixels) for indices in (cut.rows, cut.columns))
    return mask[:, rows][:, :, columns]


def spread_pixels(indices: Sequence[int], device: torch.device, pixels: int) -> Tensor:
    """Latent indices to those of the picture's pixels."""
    first = torch.tensor(indices, device=device) * pixels
    return (first[:, None] + torch.arange(pixels, device=device)).flatten()


class LayerMask:
    """One mask at every size it has been asked for, its rows repeated for each of the call's conditionings."""

    def __init__(self, mask: Tensor, groups: int) -> None:
        self.mask = mask  # (M, H, W), M = 1 or the batch
        self.groups = groups if mask.shape[0] > 1 else 1
        self.sizes: dict[Size, Tensor] = {}

    def in_order(self, order: Sequence[int]) -> LayerMask:
        """The mask for rows in another order, or repeated; one for all rows stays as it is."""
        if self.mask.shape[0] == 1:
            return self
        return LayerMask(self.mask.repeat(self.groups, 1, 1)[list(order)], 1)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.mask.nbytes + sum(made.nbytes for made in self.sizes.values())

    def prepare(self, size: Size) -> Tensor:
        """Make, keep and return the mask for activations of `size`, one for all heads: (1 or G · b, 1, h · w, 1)."""
        resized = resize_mask(self.mask.float(), size).to(self.mask.dtype).repeat(self.groups, 1, 1)
        self.sizes[size] = resized.unsqueeze(1)
        return self.sizes[size]

    def prepare_all(self, grids: Iterable[Size]) -> None:
        """Make the sizes that a model's activations have."""
        for grid in grids:
            self.prepare(grid)

    def at(self, size: Size) -> Tensor:
        """The mask for activations of `size`; one that no level has (a resized layer) is made when met."""
        made = self.sizes.get(size)
        return self.prepare(size) if made is None else made
