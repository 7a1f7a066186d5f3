"""When in the sampling an application acts, decided once a model call and, as a rule, without asking the device.

A call's noise level is a tensor on the device, and reading it makes the host wait. The sampler's loop says enough
without: after step i has been reported, the host's own samplers call the model only between the noise levels i and
i + 2. Where a whole such bracket is inside or outside a window nothing is read; the few calls around its ends are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..strength import Strength
from .application import Application

FOLLOW_THEIR_SIGMAS = ("comfy.k_diffusion.sampling", "comfy.extra_samplers.uni_pc")  # modules of such samplers


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


Windows = tuple[SigmaWindow | None, ...]  # None: always


def windows_of(applications: tuple[Application, ...], model_sampling: Any) -> Windows:
    """Each application's window in noise levels of the model being sampled."""

    def window(strength: Strength) -> SigmaWindow | None:
        if strength.always:
            return None
        return SigmaWindow(*(float(model_sampling.percent_to_sigma(at)) for at in (strength.start, strength.end)))

    return tuple(window(app.strength) for app in applications)


class StepClock:
    """Follows a sampler's loop through the callback it reports its steps to."""

    def __init__(self, sigmas: list[float]) -> None:
        self.sigmas = sigmas
        self.reported = -1

    def listen(self, callback: Callable[..., Any] | None) -> Callable[..., Any]:
        """The callback for the sampler: note the step, then tell whoever listened before."""

        def report(step: int, *args: Any, **kwargs: Any) -> Any:
            self.reported = step
            return callback(step, *args, **kwargs) if callback else None

        return report

    def bracket(self) -> tuple[float, float]:
        """The lowest and highest noise level the next call can have."""
        last = len(self.sigmas) - 1
        return self.sigmas[min(self.reported + 2, last)], self.sigmas[max(self.reported, 0)]


def clock_for(windows: Windows, sampler: Any, sigmas: Tensor) -> StepClock | None:
    """A clock where there are windows and the sampler keeps to its noise levels, from high to low."""
    function = getattr(sampler, "sampler_function", None)
    churns = bool(getattr(sampler, "extra_options", {}).get("s_churn"))
    if not any(windows) or churns or getattr(function, "__module__", None) not in FOLLOW_THEIR_SIGMAS:
        return None
    levels = sigmas.tolist()
    return StepClock(levels) if levels == sorted(levels, reverse=True) else None


def active(windows: Windows, t: Tensor, clock: StepClock | None) -> tuple[int, ...]:
    """Indices of the applications in force at a call with noise level `t`, (rows,)."""
    low, high = clock.bracket() if clock else (0.0, float("inf"))
    decided = [True if window is None else window.decides(low, high) for window in windows]
    if None in decided:
        sigma = float(t[0])
        decided = [window is None or window.holds(sigma) for window in windows]
    return tuple(index for index, acts in enumerate(decided) if acts)
