"""A record of attention maps over the picture that was sampled."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.utils
import torch
from torch import Tensor

from ...attention.maps import AttentionRecord
from ...attention.selection import MapChoice, describe, maps_of, refuse_other_pictures, resize, select
from ...drawing.heat_map import SCALES, draw_heat_map
from ..pictures import from_pil, single_pictures, to_pil


@dataclass(frozen=True)
class Look:
    """How a map is drawn: what its colours run from and to, a name of `SCALES`, and how much they cover."""

    scale: str
    opacity: float


@dataclass(frozen=True)
class Pictured:
    """Pictures with the map and its bar, (B, H', W', 3), the map itself, (B, H, W), and its numbers in words."""

    overlay: Tensor
    mask: Tensor
    text: str


def picture_attention(record: AttentionRecord, image: Tensor, choice: MapChoice, look: Look) -> Pictured:
    """Draw what is chosen of a record over the picture (B, H, W, C).

    Raises IPAdapterError where the record is empty, does not have what is chosen, or is of other pictures.
    """
    maps, pictures = maps_of(record), single_pictures([image])
    size = (image.shape[1], image.shape[2])
    refuse_other_pictures(maps, len(pictures), size)
    mask = resize(select(maps, choice), size)
    drawn, progress = [], comfy.utils.ProgressBar(len(pictures))
    for picture, values, span in zip(pictures, mask, SCALES[look.scale](mask), strict=True):
        drawn.append(draw_heat_map(to_pil(picture), values.double().numpy(), span, look.opacity))
        progress.update(1)
    return Pictured(torch.cat([from_pil(one) for one in drawn]), mask, describe(maps, choice))
