"""Which step of a sampler's loop a model call belongs to, and its noise level, without asking the device.

A sampler of the host makes a step's first call of the model, reports the step, and then makes its other calls, if it
has any. How many there are is known of each, so that counting tells them from the next step's first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import sqrt
from typing import Any

Options = Mapping[str, Any]  # what a sampler is given beside the noise levels
Rule = Callable[[Options, int, Sequence[float]], int]  # how often a step of a run calls the model
Calls = Callable[[int, Sequence[float]], int]  # the same, of a sampler whose options are known


def once(step: int, sigmas: Sequence[float]) -> int:
    return 1


def stages(calls: int) -> Rule:
    """So often, but once in a step that ends without noise."""
    return lambda options, step, sigmas: calls if sigmas[step + 1] else 1


def ancestral(options: Options, step: int, sigmas: Sequence[float]) -> int:
    """Twice, but once where all the noise left is to be added anew."""
    begin, end = sigmas[step : step + 2]
    return 2 if end and options.get("eta", 1.0) * sqrt(1 - (end / begin) ** 2) < 1 else 1


def heun_plus_plus(options: Options, step: int, sigmas: Sequence[float]) -> int:
    """At each of the next two noise levels too, as far as there are."""
    return min(3, len(sigmas) - 1 - step)


def evaluate_again(options: Options, step: int, sigmas: Sequence[float]) -> int:
    """Twice where something has been corrected, which the first step has not."""
    return 2 if step and options.get("corrector_order", 4) else 1


def as_many_as_steps(options: Options, step: int, sigmas: Sequence[float]) -> int:
    """Three in a step, and at the end two and one for the last three, or what is left."""
    left = len(sigmas) - 1 - 3 * step
    return max(1, 2 if left == 3 else min(3, left))


RULES: Mapping[str, Rule] = {  # of the samplers that call the model more than once a step, by their functions' names
    "sample_heun": stages(2),
    "sample_heunpp2": heun_plus_plus,
    "sample_dpm_2": stages(2),
    "sample_dpm_2_ancestral": ancestral,
    "sample_dpmpp_2s_ancestral": ancestral,
    "sample_dpmpp_2s_ancestral_cfg_pp": ancestral,
    "sample_dpmpp_sde": stages(2),
    "sample_dpmpp_sde_gpu": stages(2),
    "sample_exp_heun_2_x0": stages(2),
    "sample_exp_heun_2_x0_sde": stages(2),
    "sample_seeds_2": stages(2),
    "sample_seeds_3": stages(3),
    "sample_sa_solver": lambda options, *run: evaluate_again(options, *run) if options.get("use_pece") else 1,
    "sample_sa_solver_pece": evaluate_again,
    "dpm_fast_function": as_many_as_steps,
}
REPORTS_LAST = "dpm_adaptive_function"  # calls as often as it takes, and then reports the step
FOLLOW_THEIR_SIGMAS = ("comfy.k_diffusion.sampling", "comfy.extra_samplers.uni_pc")  # modules of such samplers


class StepClock:
    """Follows a sampler's loop: told of every call, and of every step through the sampler's own report.

    A loop that does not do what is expected of it is `lost`: the clock tells its steps as well as reports do.
    """

    def __init__(self, sigmas: list[float], calls: Calls | None = once, follows: bool = True) -> None:
        self.sigmas = sigmas
        self.calls = calls
        self.follows = follows  # whether the sampler keeps to these noise levels, from high to low
        self.reported = -1
        self.made = 0  # calls since then
        self.lost = False
        self.began = (-1, 0.0)

    @property
    def keeps(self) -> bool:
        """Whether the noise level of every step is the run's."""
        return self.follows and not self.lost

    @property
    def step(self) -> int:
        """The step that is being made."""
        if self.calls is None:
            return self.reported + 1
        again = self.reported >= 0 and self.made < self.calls(self.reported, self.sigmas)
        return min(self.reported + (0 if again else 1), len(self.sigmas) - 2)

    @property
    def sigma(self) -> float | None:
        """The noise level of the call that is being made, where it is a step's first; None where it has to be read.

        That of the run's first step is: models of flows have samplers that begin a little lower.
        """
        if not self.keeps or self.calls is None or self.reported < 0 or self.step == self.reported:
            return None
        return self.sigmas[self.step]

    @property
    def due(self) -> int | None:
        """Calls between the last report and the next: the other ones of its step, and the first of the next."""
        if self.calls is None:
            return None
        return self.calls(self.reported, self.sigmas) if self.reported >= 0 else 1

    def count(self) -> None:
        """A call is about to be made."""
        self.made += 1
        self.lost |= self.due is not None and self.made > self.due

    def listen(self, callback: Callable[..., Any] | None) -> Callable[..., Any]:
        """The callback for the sampler: note the step, then tell whoever listened before."""

        def report(step: int, *args: Any, **kwargs: Any) -> Any:
            self.lost |= self.due is not None and self.made != self.due
            self.reported, self.made = step, 0
            return callback(step, *args, **kwargs) if callback else None

        return report

    def start(self, sigma: float) -> float:
        """The noise level of the first call of the step, given that of the one being made."""
        if self.lost or self.step != self.began[0]:
            self.began = (self.step, sigma)
        return self.began[1]

    def bracket(self) -> tuple[float, float]:
        """The lowest and highest noise level the next call can have."""
        last = len(self.sigmas) - 1
        return self.sigmas[min(self.reported + 2, last)], self.sigmas[max(self.reported, 0)]


def clock_for(sampler: Any, sigmas: list[float]) -> StepClock:
    """The clock of a sampler. One that adds noise beforehand, or is another pack's, has noise levels of its own."""
    function, options = getattr(sampler, "sampler_function", None), getattr(sampler, "extra_options", {})
    known = getattr(function, "__module__", None) in FOLLOW_THEIR_SIGMAS
    follows = known and not options.get("s_churn") and sigmas == sorted(sigmas, reverse=True)
    return StepClock(sigmas, calls_of(getattr(function, "__name__", ""), options), follows)


def calls_of(name: str, options: Options) -> Calls | None:
    """How often each step of a sampler calls the model; None where it says so only afterwards."""
    if name == REPORTS_LAST:
        return None
    return partial(RULES[name], options) if name in RULES else once
