"""Masks as users give them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import IPAdapterError

Size = tuple[int, int]


def is_blank(mask: Tensor) -> bool:
    """Whether a mask lets nothing through."""
    return mask.numel() == 0 or not bool(torch.any(mask > 0))


def refuse_mask(mask: Tensor | None) -> None:
    """Refuse a mask that no picture could use."""
    if mask is None:
        return
    if mask.ndim != 3 or 0 in mask.shape:
        raise IPAdapterError(f"mask has shape {list(mask.shape)}, where [masks, height, width] is needed.")
    if not bool(torch.isfinite(mask).all()):
        raise IPAdapterError("mask holds NaN or infinite numbers: look at the node that made it.")
    if is_blank(mask):
        raise IPAdapterError("mask is empty: the image prompt would act nowhere; paint where it should act.")
