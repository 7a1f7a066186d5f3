"""Parts of an image prompt with a place of their own in the picture: their masks beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import IPAdapterError
from ..images.masks import Size, is_blank, refuse_mask
from .prompt import ImagePrompt, Overlap, Part, Region, join_prompts


def masks_of(parts: Sequence[Part], mask: Tensor | None) -> list[Tensor | None]:
    """Where each part acts: its region, shared with the others', within a mask for all of them.

    Masks that share a place there are divided by their sum where it exceeds 1; a part that says nothing has no share.
    Raises IPAdapterError for batches of masks of different lengths.
    """
    regions = [None if part.silent else part.region for part in parts]
    if not any(regions):
        return [mask] * len(parts)
    given = [mask, *(region.mask for region in regions if region)]
    size = largest_mask([one for one in given if one is not None])
    refuse_two_lengths([one for one in given if one is not None])
    whole = torch.ones(1, *size) if mask is None else bring_to(mask, size)
    placed = [None if region is None else bring_to(region.mask, size) for region in regions]
    total = sum(one for one in placed if one is not None)
    assert isinstance(total, Tensor)
    crowd = total.clamp(min=1.0)
    shared = [
        None if region is None or one is None else one / crowd if region.overlap is Overlap.SHARE else one
        for region, one in zip(regions, placed, strict=True)
    ]
    return [mask if one is None else refuse_outside(one * whole) for one in shared]


def refuse_outside(mask: Tensor) -> Tensor:
    """A region has to meet the mask for all of them."""
    if is_blank(mask):
        raise IPAdapterError(
            "a region lies outside the mask of Apply IP-Adapter: paint the mask where the regions are."
        )
    return mask


def largest_mask(masks: Sequence[Tensor]) -> Size:
    """The largest height and width."""
    return max(mask.shape[1] for mask in masks), max(mask.shape[2] for mask in masks)


def bring_to(mask: Tensor, size: Size) -> Tensor:
    """(M, h, w) to (M, H, W)."""
    if tuple(mask.shape[1:]) == size:
        return mask.float()
    return interpolate(mask.float().unsqueeze(1), size=size, mode="bilinear", antialias=True).squeeze(1).clamp(0, 1)


def refuse_two_lengths(masks: Sequence[Tensor]) -> None:
    """Batches of masks must have one length."""
    lengths = sorted({mask.shape[0] for mask in masks} - {1})
    if len(lengths) > 1:
        raise IPAdapterError(
            f"the masks are batches of {' and '.join(map(str, lengths))}: give each one mask, or as many as pictures."
        )


def place_in_region(prompt: ImagePrompt, mask: Tensor, weight: float, overlap: Overlap) -> ImagePrompt:
    """A prompt whose parts act inside a mask; where a part has a region already, inside both.

    Raises IPAdapterError for a mask that lets nothing through.
    """
    refuse_mask(mask)
    inside = in_range(mask)
    parts = tuple(
        replace(part, weight=part.weight * weight, region=Region(mask_within(part.region, inside), overlap))
        for part in prompt.parts
    )
    return replace(prompt, parts=parts)


def in_range(mask: Tensor) -> Tensor:
    """A mask in floating point and in 0 … 1, which some resizing leaves a little."""
    return (mask if mask.is_floating_point() else mask.float()).clamp(0, 1)


def mask_within(region: Region | None, mask: Tensor) -> Tensor:
    """A mask, or what it has in common with a region's."""
    if region is None:
        return mask
    size = largest_mask([region.mask, mask])
    refuse_two_lengths([region.mask, mask])
    both = bring_to(region.mask, size) * bring_to(mask, size)
    if is_blank(both):
        raise IPAdapterError("the region lies outside the region its image prompt has already: paint where they meet.")
    return both


def add_region(regions: ImagePrompt | None, prompt: ImagePrompt) -> ImagePrompt:
    """Regions so far and one more."""
    return prompt if regions is None else join_prompts(regions, prompt)
