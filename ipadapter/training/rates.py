"""The learning rate in the course of a run, of the step alone: a run that goes on need not remember it."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer

# What is left of the rate after a part of the steps behind the warm-up, 0 … 1.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


def rate_factor(schedule: str, warmup_steps: int, steps: int, step: int) -> float:
    """What a step's rate is of the whole (diffusers `optimization.py`): from 0 up to 1 in the warm-up, then down."""
    if step < warmup_steps:
        return step / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return SCHEDULES[schedule](min(done, 1.0))


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """The rate of the step to come."""
    for group in optimizer.param_groups:
        group["lr"] = rate
