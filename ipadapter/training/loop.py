"""The steps of a run in one process."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import IPAdapterError
from .draws import draw_example
from .module import AdapterTraining, Batch, TrainingSet, make_batch
from .recipe import Recipe


class DivergedError(IPAdapterError):
    """The loss or its gradient is not a number any more. The weights are those of the last good step."""


@dataclass(frozen=True)
class Share:
    """The part of every micro-batch that one process works on."""

    process: int = 0
    processes: int = 1

    def positions(self, recipe: Recipe, step: int, micro: int) -> range:
        """Positions in the run of the examples of one micro-batch."""
        first = (step * recipe.grad_accumulation + micro) * self.processes + self.process
        return range(first * recipe.batch_size, (first + 1) * recipe.batch_size)


ALONE = Share()


def batch_at(
    training: AdapterTraining, data: TrainingSet, recipe: Recipe, step: int, micro: int, share: Share = ALONE
) -> Batch:
    """The examples of one micro-batch."""
    positions = share.positions(recipe, step, micro)
    draws = [draw_example(recipe.seed, position, len(data)) for position in positions]
    return make_batch(data, training.model, draws, recipe.drops)


def train_step(
    training: AdapterTraining, data: TrainingSet, recipe: Recipe, optimizer: torch.optim.Optimizer, step: int
) -> float:
    """One optimizer step; the mean loss of its examples. Raises DivergedError before any weight is harmed."""
    total = 0.0
    for micro in range(recipe.grad_accumulation):
        loss = training(batch_at(training, data, recipe, step, micro)) / recipe.grad_accumulation
        loss.backward()
        total += loss.detach().item()
    refuse_divergence(total, [p.grad for p in training.parameters() if p.grad is not None], step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def refuse_divergence(loss: float, gradients: list[Tensor], step: int) -> None:
    """Stop at a loss or a gradient that is not a number."""
    if math.isfinite(loss) and bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
        return
    raise DivergedError(
        f"training stopped at step {step + 1}: the loss is {loss:g} or its gradient is not finite; the weights of step "
        f"{step} were kept. Lower learning_rate, or compute in fp32."
    )


def train(
    training: AdapterTraining, data: TrainingSet, recipe: Recipe, after_step: Callable[[int, float], None]
) -> list[float]:
    """All steps of a run; the loss of each. `after_step` hears of every one, and may end the run by raising."""
    optimizer = recipe.optimizer(list(training.parameters()))
    losses: list[float] = []
    for step in range(recipe.steps):
        losses.append(train_step(training, data, recipe, optimizer, step))
        after_step(step + 1, losses[-1])
    return losses
