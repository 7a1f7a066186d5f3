"""What a strength w does to K' and V' of a layer of C channels.

| mode | attention |
|---|---|
| V only | Attn(q, K, w V), the paper's eq. 8 |
| K+V | Attn(q, w K, w V) |
| K+V w/ C penalty | Attn(q, w' K, w' V) with w' = w C / 1280 |
| K+mean(V) w/ C penalty | Attn(q, w' K, (V - mean V) + w' mean V), the mean over the tokens |

Each is linear in w: K(w) = K0 + w K1 and V(w) = V0 + w V1. So a strength that changes during the sampling needs one
multiplication and addition a step for all layers together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .strength import Scaling

WIDEST_LAYER = 1280  # channels of the widest layers, for which the penalty is 1


class Linear(NamedTuple):
    """A tensor that is linear in the strength: `still` + w · `scaled`."""

    still: Tensor
    scaled: Tensor


KeysAndValues = tuple[Linear, Linear]


def values_only(keys: Tensor, values: Tensor) -> KeysAndValues:
    return Linear(keys, torch.zeros_like(keys)), Linear(torch.zeros_like(values), values)


def keys_and_values(keys: Tensor, values: Tensor) -> KeysAndValues:
    return Linear(torch.zeros_like(keys), keys), Linear(torch.zeros_like(values), values)


def by_width(keys: Tensor, values: Tensor) -> KeysAndValues:
    penalty = keys.shape[-1] / WIDEST_LAYER
    return keys_and_values(keys * penalty, values * penalty)


def mean_by_width(keys: Tensor, values: Tensor) -> KeysAndValues:
    penalty = keys.shape[-1] / WIDEST_LAYER
    mean = values.mean(dim=-2, keepdim=True)
    return Linear(torch.zeros_like(keys), keys * penalty), Linear(values - mean, (mean * penalty).expand_as(values))


MODES: dict[Scaling, Callable[[Tensor, Tensor], KeysAndValues]] = {
    Scaling.VALUES: values_only,
    Scaling.KEYS_AND_VALUES: keys_and_values,
    Scaling.KEYS_AND_VALUES_BY_WIDTH: by_width,
    Scaling.KEYS_AND_MEAN_BY_WIDTH: mean_by_width,
}


def scale(mode: Scaling, keys: Tensor, values: Tensor) -> KeysAndValues:
    """K' and V' (R, T, C) of a layer as functions of the strength."""
    return MODES[mode](keys, values)
