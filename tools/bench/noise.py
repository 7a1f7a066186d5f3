"""Random numbers for weights, made once and repeated: their size matters here, not what they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SEED = 2308
LENGTH = 1_048_573  # a prime, so that no two rows of a tensor are the same numbers


def make_noise() -> Tensor:
    """Gaussian noise of unit deviation, always the same."""
    return torch.randn(LENGTH, generator=torch.Generator().manual_seed(SEED))


def tile(noise: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A tensor filled with the noise over and over."""
    count = math.prod(shape)
    enough = noise if count <= len(noise) else noise.repeat(-(-count // len(noise)))
    return enough[:count].reshape(shape)


def fill_module(module: nn.Module) -> None:
    """Weights that keep activations near unit size: ones for norms, small biases, 1/sqrt(fan-in) for the rest."""
    noise = make_noise()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("weight") and parameter.ndim == 1:
                parameter.fill_(1)
            else:
                parameter.copy_(tile(noise, tuple(parameter.shape)) * deviation(parameter))


def deviation(parameter: Tensor) -> float:
    """The size of a parameter's numbers."""
    return 0.02 if parameter.ndim == 1 else math.prod(parameter.shape[1:]) ** -0.5
