"""What a model call's branches depend on, and what follows from it alone: masks and frames placed for such calls."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...attention.application import Application
from ...attention.masks import Cut, LayerMask, cut_mask
from ...backbones.known import backbone_of
from ...images.masks import Size
from .frames import Seen
from .roles import Group
from .rows import RowOrder


@dataclass(frozen=True)
class CallShape:
    """All that a model call's branches depend on, besides the levels of curves."""

    device: torch.device
    dtype: torch.dtype
    groups: tuple[Group, ...]  # one for each block of rows
    active: tuple[int, ...]
    size: tuple[int, ...]  # (rows, height, width)
    latent: Size  # the whole picture's
    seen: Seen
    order: RowOrder | None = None  # for each row of a layer the call's, where they are not the same

    @property
    def batch(self) -> int:
        """Pictures of each conditioning."""
        return self.size[0] // len(self.groups)

    @property
    def cuts(self) -> list[Cut | None]:
        """The part of the picture that each conditioning sees, where it is not the whole: its area of the window."""
        window = self.seen.cut(self.latent)
        return [group.cut.within(window) if group.cut and window else group.cut or window for group in self.groups]


def frame_column(weights: tuple[float, ...], frames: list[int], like: Tensor) -> Tensor:
    """Each row's weight by its picture, (R, 1); past the last weight the last one stays."""
    return like.new_tensor([weights[min(frame, len(weights) - 1)] for frame in frames])[:, None]


def place_mask(app: Application, mask: Tensor, call: CallShape) -> LayerMask:
    """An application's mask on the call's device, with the sizes its layers will ask for."""
    mask, backbone, is_cut = mask.to(call.device, call.dtype), backbone_of(app.layers), any(call.cuts)
    if mask.shape[0] > 1:
        mask = mask[app.fitting.masks_for(mask.shape[0], call.seen.frames(call.batch))]
    placed = LayerMask(cut_for_groups(mask, call, backbone.pixels), 1) if is_cut else LayerMask(mask, len(call.groups))
    if call.order is not None:
        placed = placed.in_order(call.order)
    placed.prepare_all(backbone.grids((call.size[1], call.size[2])))
    return placed


def cut_for_groups(mask: Tensor, call: CallShape, pixels: int) -> Tensor:
    """Each conditioning's own part of a mask, (G · b, h, w)."""
    whole = Cut.box(0, 0, *call.latent)
    rows = [cut_mask(mask, cut or whole, call.latent, pixels).expand(call.batch, -1, -1) for cut in call.cuts]
    return torch.cat(rows)
