"""Where in the picture an image prompt acts: a mask brought to the size of each layer's activations."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

Size = tuple[int, int]


def resize_mask(mask: Tensor, size: Size) -> Tensor:
    """(M, H, W) to (M, h · w, 1), bicubic as the reference does it (diffusers `IPAdapterMaskProcessor`)."""
    resized = interpolate(mask.unsqueeze(1), size=size, mode="bicubic")  # (M, 1, h, w)
    return rearrange(resized, "m 1 h w -> m (h w) 1")


class LayerMask:
    """One mask at every size it has been asked for, its rows repeated for each of the call's conditionings."""

    def __init__(self, mask: Tensor, groups: int) -> None:
        self.mask = mask  # (M, H, W), M = 1 or the batch
        self.groups = groups if mask.shape[0] > 1 else 1
        self.sizes: dict[Size, Tensor] = {}

    def prepare(self, size: Size) -> Tensor:
        """Make, keep and return the mask for activations of `size`: (1 or G · b, h · w, 1)."""
        self.sizes[size] = resize_mask(self.mask.float(), size).to(self.mask.dtype).repeat(self.groups, 1, 1)
        return self.sizes[size]

    def prepare_levels(self, latent: Size, levels: int = 5) -> None:
        """Make the sizes a UNet goes through, each level half of the one above, rounded up."""
        for level in range(levels):
            height, width = (-(-side // 2**level) for side in latent)
            self.prepare((height, width))

    def at(self, activations_shape: list[int]) -> Tensor:
        """The mask for activations (b, c, h, w); a size that no level has (a resized layer) is made when met."""
        size = (activations_shape[2], activations_shape[3])
        made = self.sizes.get(size)
        return self.prepare(size) if made is None else made


def is_blank(mask: Tensor) -> bool:
    """Whether a mask lets nothing through."""
    return mask.numel() == 0 or not bool(torch.any(mask > 0))
