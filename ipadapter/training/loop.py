"""The steps of a run in one process."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import IPAdapterError
from .batches import Batches
from .buckets import Buckets
from .module import AdapterTraining, TrainingSet
from .rates import set_rate
from .recipe import Recipe


class DivergedError(IPAdapterError):
    """The loss or its gradient is not a number any more. The weights are those of the last good step."""


def train_step(training: AdapterTraining, batches: Batches, optimizer: torch.optim.Optimizer, step: int) -> float:
    """One optimizer step; the mean loss of its examples. Raises DivergedError before any weight is harmed.

    The host waits for the device once: for the losses and the gradient's length, read together.
    """
    losses = []
    for number in batches.recipe.batches_of(step):
        loss = training(batches.take(number)) / batches.recipe.grad_accumulation
        loss.backward()
        losses.append(loss.detach())
        batches.make_ahead(number + 1)
    *parts, length = torch.stack([*losses, gradient_length(training)]).tolist()
    refuse_divergence(sum(parts), length, step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    total: float = sum(parts)
    return total


def gradient_length(module: nn.Module) -> Tensor:
    """The length of the gradient of all that is learned, one number: finite where all of it is."""
    return torch.nn.utils.get_total_norm(p.grad for p in module.parameters() if p.grad is not None)


def refuse_divergence(loss: float, gradient: float, step: int) -> None:
    """Stop at a loss or a gradient, of this length, that is not a number."""
    if math.isfinite(loss) and math.isfinite(gradient):
        return
    raise DivergedError(
        f"training stopped at step {step + 1}: the loss is {loss:g} or its gradient is not finite; the weights of step "
        f"{step} were kept. Lower learning_rate, or compute in fp32."
    )


def train(
    training: AdapterTraining,
    data: TrainingSet,
    recipe: Recipe,
    after_step: Callable[[int, float], None],
    buckets: Buckets | None = None,
) -> list[float]:
    """All steps of a run; the loss of each. `after_step` hears of every one, and may end the run by raising."""
    optimizer = recipe.optimizer(list(training.parameters()))
    batches = Batches(data, training.model, recipe, buckets=buckets)
    losses: list[float] = []
    for step in range(recipe.steps):
        set_rate(optimizer, recipe.rate(step))
        losses.append(train_step(training, batches, optimizer, step))
        after_step(step + 1, losses[-1])
    return losses
