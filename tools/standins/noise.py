"""What the tensors of a stand-in are filled with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch

NOISE_LENGTH = 4_194_301  # a prime: rows of a tensor longer than the noise do not repeat

State = dict[str, torch.Tensor]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Noise:
    """Fixed Gaussian noise, from which any tensor is cut at a place its name decides."""

    values: torch.Tensor

    @classmethod
    def seeded(cls, seed: int) -> Noise:
        return cls(torch.randn(NOISE_LENGTH, generator=torch.Generator().manual_seed(seed)))

    def cut(self, name: str, shape: tuple[int, ...], deviation: float) -> torch.Tensor:
        """fp16 noise of this shape and standard deviation, the same for the same name."""
        count = torch.Size(shape).numel()
        start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % NOISE_LENGTH
        whole, rest = divmod(start + count, NOISE_LENGTH)
        pieces = [self.values] * whole + [self.values[:rest]]
        pieces[0] = pieces[0][start:]
        return torch.cat([piece.mul(deviation).half() for piece in pieces]).reshape(shape)


def is_norm_weight(name: str, shape: tuple[int, ...]) -> bool:
    return name.endswith("weight") and len(shape) == 1


def fan_in(shape: tuple[int, ...]) -> int:
    return torch.Size(shape[1:]).numel()


def fill(shapes: Shapes, noise: Noise) -> State:
    """Random tensors that keep activations near unit size: ones for norms, small biases, 1/sqrt(fan-in) otherwise."""
    return {name: fill_one(name, shape, noise) for name, shape in shapes.items()}


def fill_one(name: str, shape: tuple[int, ...], noise: Noise) -> torch.Tensor:
    if is_norm_weight(name, shape):
        return torch.ones(shape, dtype=torch.float16)
    if len(shape) < 2:
        return noise.cut(name, shape, 0.02)
    if "embedding" in name and "patch" not in name:
        return noise.cut(name, shape, 0.1)
    return noise.cut(name, shape, fan_in(shape) ** -0.5)


def shapes_of(module: torch.nn.Module, prefix: str = "", skip: tuple[str, ...] = ()) -> dict[str, tuple[int, ...]]:
    return {
        prefix + name: tuple(tensor.shape)
        for name, tensor in module.state_dict().items()
        if not name.endswith(skip or ("\0",))
    }
