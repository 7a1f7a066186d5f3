"""When in the sampling an application acts, decided once a model call and, as a rule, without asking the device.

A call's noise level is a tensor on the device, and reading it makes the host wait. The sampler's loop says enough
without: after step i has been reported, the host's own samplers call the model only between the noise levels i and
i + 2. Where a whole such bracket is inside or outside a window nothing is read; the few calls around its ends are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...attention.application import Application
from ...strength.strength import Strength
from .step_clock import StepClock


@dataclass(frozen=True)
class SigmaWindow:
    """Noise levels between which an image prompt acts, both included (as the host's own timestep ranges)."""

    start: float
    end: float

    def holds(self, sigma: float) -> bool:
        """Whether a noise level is inside."""
        return self.end <= sigma <= self.start

    def decides(self, low: float, high: float) -> bool | None:
        """Whether all noise levels from low to high are inside; None where only some are."""
        if self.holds(low) and self.holds(high):
            return True
        return False if high < self.end or low > self.start else None


@dataclass(frozen=True)
class Timing:
    """When one application acts. `levels` are its curves' values at each step of the run, where it has curves."""

    window: SigmaWindow | None  # None: always
    strength: Strength
    levels: tuple[float, ...] | None = None

    @property
    def constant(self) -> bool:
        """Whether every call is alike."""
        return self.window is None and not self.strength.curves

    def holds(self, sigma: float) -> bool:
        """Whether it acts at a noise level."""
        return self.window is None or self.window.holds(sigma)

    def level(self, step: int) -> float:
        """The curves' value at the noise level that a step of the run starts from."""
        return 1.0 if self.levels is None else self.levels[step]


Acting = tuple[tuple[int, float], ...]  # applications in force at a call, each with its level


def timings_of(applications: Sequence[Application], model_sampling: Any, sigmas: Sequence[float]) -> tuple[Timing, ...]:
    """Each application's window in noise levels of the model being sampled, and its levels at the run's steps."""
    positions = [position_of(sigma, model_sampling) for sigma in sigmas] if has_curves(applications) else []
    return tuple(timing_of(app.strength, model_sampling, positions) for app in applications)


def has_curves(applications: Sequence[Application]) -> bool:
    return any(app.strength.curves for app in applications)


def timing_of(strength: Strength, model_sampling: Any, positions: Sequence[float]) -> Timing:
    """One application's."""
    ends = () if strength.always else (strength.start, strength.end)
    window = SigmaWindow(*(float(model_sampling.percent_to_sigma(at)) for at in ends)) if ends else None
    return Timing(window, strength, tuple(map(strength.level, positions)) if strength.curves else None)


def position_of(sigma: float, model_sampling: Any, halvings: int = 16) -> float:
    """Where in the sampling a noise level is, 0 … 1: the inverse of the host's `percent_to_sigma`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if float(model_sampling.percent_to_sigma(middle)) <= sigma else (middle, high)
    return 0.0 if low == 0.0 else high


def acting(timings: Sequence[Timing], t: Tensor, clock: StepClock | None, model_sampling: Any) -> Acting:
    """The applications in force at a call with noise level `t`, (rows,). One whose level is 0 is left out."""
    decided = [decide(timing, clock) for timing in timings]
    if None in decided:
        sigma = float(t[0])
        start = clock.start(sigma) if clock else sigma
        decided = [level(timing, start, clock, model_sampling) * timing.holds(sigma) for timing in timings]
    return tuple((index, level) for index, level in enumerate(decided) if level)


def decide(timing: Timing, clock: StepClock | None) -> float | None:
    """An application's level without asking the device for the noise level; None where that does not tell it."""
    if timing.constant:
        return 1.0
    if clock is None or not clock.keeps:
        return None
    inside = True if timing.window is None else timing.window.decides(*clock.bracket())
    return None if inside is None else inside * timing.level(clock.step)


def level(timing: Timing, start: float, clock: StepClock | None, model_sampling: Any) -> float:
    """The curves' value for all calls of a step that starts from a noise level."""
    if timing.levels is None:
        return 1.0
    if clock is not None and clock.keeps:
        return timing.level(clock.step)
    return timing.strength.level(position_of(start, model_sampling))
