"""Bringing a batch to the device that computes, without a wait."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device, or on its way there."""
    return WAYS.get(device.type, Tensor.to)(tensor, device)


def send_pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """From pinned memory a card reads by itself when it gets there; from any other, the host waits until it has.

    torch keeps pinned memory until it has been read.
    """
    pinned = tensor.pin_memory() if tensor.device.type == "cpu" else tensor
    return pinned.to(device, non_blocking=True)


WAYS: dict[str, Callable[[Tensor, torch.device], Tensor]] = {"cuda": send_pinned}
