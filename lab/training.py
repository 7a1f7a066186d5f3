"""Training loops of the laboratory: one optimizer, one schedule, averages of the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import comfy.model_management
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import trange

from .world import DOMAIN_LOOKS, Scene, draw


@dataclass(frozen=True)
class Recipe:
    """How long and how fast. The learning rate rises over `warmup` steps and falls along a half cosine to zero."""

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: int = 100
    average: float = 0.999  # decay of the running average of the weights

    def rate(self, step: int) -> float:
        """The share of the learning rate at a step."""
        fade = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return min(1.0, (step + 1) / self.warmup) * fade


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    loss: float  # mean of the last hundred steps
    seconds: float
    steps: int


class Average:
    """A running average of a module's weights, with less memory while it is young."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}

    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, tensor in module.named_parameters():
                self.tensors[name].lerp_(tensor, 1 - decay)

    def copy_to(self, module: nn.Module) -> None:
        with torch.no_grad():
            for name, tensor in module.named_parameters():
                tensor.copy_(self.tensors[name])


Peek = Callable[[int, Average], None]  # told the step and the average so far


def train(
    module: nn.Module, loss_of: Callable[[int], Tensor], recipe: Recipe, name: str, peek: Peek | None = None
) -> Result:
    """Train a module in place on the loss of each step; it ends in main memory, with its averaged weights."""
    started = time.perf_counter()
    module.to(device())
    losses: list[float] = []
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, recipe.learning_rate, (0.9, 0.99), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate)
    average = Average(module, recipe.average)
    bar = trange(recipe.steps, desc=name, mininterval=10)
    for step in bar:
        optimizer.zero_grad(set_to_none=True)
        loss = backward(loss_of, step)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        average.update(module, step)
        losses = [*losses[-99:], float(loss.detach())]
        bar.set_postfix(loss=f"{np.mean(losses):.4f}", refresh=False)
        if peek:
            peek(step, average)
    average.copy_to(module)
    module.to("cpu")
    return Result(float(np.mean(losses)), time.perf_counter() - started, recipe.steps)


def backward(loss_of: Callable[[int], Tensor], step: int) -> Tensor:
    """A step's loss and its gradients. On a CPU in bf16 the plain attention has the faster gradient."""
    with sdpa_kernel(SDPBackend.MATH):
        with autocast():
            loss = loss_of(step)
        loss.backward()
    return loss


def autocast() -> torch.autocast:
    """bf16 on a card, and on a processor that computes in it; on others it takes half as long again as fp32."""
    kind = device().type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or torch.cpu.get_capabilities()["avx512_bf16"])


def device() -> torch.device:
    """Where the host computes, and so the training."""
    chosen: torch.device = comfy.model_management.get_torch_device()
    return chosen


def here(tensor: Tensor) -> Tensor:
    """A tensor where the training computes."""
    return tensor.to(device())


def pictures_of(scenes: Sequence[Scene], domain: str = "day") -> Tensor:
    """The scenes' pictures, uint8 (N, 64, 64, 3)."""
    return torch.from_numpy(DOMAIN_LOOKS[domain](np.stack([draw(scene) for scene in scenes])))


def lay_out_plainly(module: nn.Module) -> None:
    """Group norms read contiguous tensors while training: their gradient is ten times slower on channels-last ones."""
    for layer in module.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.register_forward_pre_hook(lambda _, given: tuple(tensor.contiguous() for tensor in given))
