"""Windows are decided right for every sampler the host has, mostly without reading a noise level from the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from pack.ipadapter.host.sampling.calls import RUN_KEY
from pack.ipadapter.host.sampling.patching import APPLY_KEY, apply_image_prompt
from pack.ipadapter.host.sampling.step_clock import StepClock
from pack.ipadapter.host.sampling.windows import SigmaWindow, Timing, acting, position_of
from pack.ipadapter.strength.curve import WeightCurve
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.small import LEAST, make_pair
from tests.world import SMALLEST, adapter_file, conditioning, host_adapter, noise_for

OWN_LEVELS = {"dpm_fast", "dpm_adaptive"}  # they choose noise levels themselves
SAMPLERS = sorted({*comfy.samplers.SAMPLER_NAMES, *comfy.samplers.KSAMPLER_NAMES})


class Watched(torch.Tensor):
    """A tensor that counts how often a number is read from it."""

    reads = 0

    def __float__(self):
        Watched.reads += 1
        return float(self.as_subclass(torch.Tensor))


@dataclass(frozen=True)
class Decided:
    """A call of the model: its noise level, the image prompt's level, and the steps that had been reported."""

    sigma: float
    level: float
    reported: int
    told: float | None  # the noise level, as far as the sampler's loop tells it


@dataclass
class Watch:
    """A run of a sampler, watched."""

    decided: list[Decided] = field(default_factory=list)
    reported: int = 0
    reads: int = 0  # of noise levels from the device
    sampling: Any = None

    def listen(self, *report: Any) -> None:
        self.reported += 1


def watch(sampler, strength: Strength, sigmas=None, steps: int = 6) -> Watch:
    """Sample with a strength, and look at every call."""
    adapter = host_adapter(adapter_file(LEAST, "base"))
    model, seen = apply_image_prompt(make_pair(LEAST).host, adapter, image_prompt(), strength), Watch()
    (rows,) = model.get_wrappers(WrappersMP.APPLY_MODEL, APPLY_KEY)
    seen.sampling = model.get_model_object("model_sampling")
    make_levels = rows.levels
    Watched.reads = 0

    def levels(model, t, options):
        made = make_levels(model, t.as_subclass(Watched), options)
        told = options[RUN_KEY].sigma
        seen.decided.append(Decided(float(t[0]), dict(made).get(0, 0.0), seen.reported, told))
        return made

    rows.levels = levels
    if sigmas is None:
        sigmas = comfy.samplers.calculate_sigmas(seen.sampling, "normal", steps)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(LEAST, 1), conditioning(LEAST, 2))
    latent = torch.zeros(1, 4, *SMALLEST.size)
    guider.sample(noise_for(SMALLEST), latent, sampler, sigmas, callback=seen.listen, disable_pbar=True, seed=1)
    seen.reads = Watched.reads
    return seen


def decisions(sampler: str, steps: int = 6) -> tuple[list[bool], list[bool], int]:
    """For each call of a run: what was decided, what its noise level says, and how many levels were read."""
    seen = watch(comfy.samplers.sampler_object(sampler), Strength(1.0, 0.3, 0.7), steps=steps)
    window = SigmaWindow(seen.sampling.percent_to_sigma(0.3), seen.sampling.percent_to_sigma(0.7))
    decided, right = zip(*((bool(call.level), window.holds(call.sigma)) for call in seen.decided), strict=True)
    return list(decided), list(right), seen.reads


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_keeps_the_window(sampler):
    decided, right, reads = decisions(sampler)
    assert decided == right and any(right) and not all(right)
    assert reads == len(right) if sampler in OWN_LEVELS else reads < len(right)


def test_a_long_run_reads_the_noise_level_at_the_windows_ends_only():
    decided, right, reads = decisions("euler", steps=40)
    assert decided == right
    assert reads <= 4


def test_a_bracket_that_crosses_an_end_is_read():
    window = SigmaWindow(10.0, 5.0)
    assert window.decides(6.0, 9.0) is True
    assert window.decides(11.0, 14.0) is False
    assert window.decides(1.0, 4.0) is False
    assert window.decides(4.0, 6.0) is None
    assert window.decides(1.0, 14.0) is None
    clock = StepClock([14.0, 7.0, 6.0, 4.0, 0.0])
    assert clock.bracket() == (7.0, 14.0)
    timings = (Timing(window, Strength(1.0, 0.3, 0.7)), Timing(None, Strength()))
    assert acting(timings, torch.tensor([7.0]), clock, None) == ((0, 1.0), (1, 1.0))
    heard = []
    clock.listen(heard.append)(1)
    assert heard == [1] and clock.bracket() == (4.0, 7.0)


def test_noise_levels_that_rise_are_read():
    adapter = host_adapter(adapter_file(LEAST, "base"))
    model = apply_image_prompt(make_pair(LEAST).host, adapter, image_prompt(), Strength(1.0, 0.0, 0.5))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(LEAST, 1), conditioning(LEAST, 2))
    rising = torch.tensor([0.1, 0.5, 2.0, 8.0, 14.0])
    latent = torch.randn(1, 4, *SMALLEST.size, generator=torch.Generator().manual_seed(0))
    (rows,) = model.get_wrappers(WrappersMP.APPLY_MODEL, APPLY_KEY)
    clocks, make_levels = [], rows.levels
    rows.levels = lambda model, t, options: (
        clocks.append(options["ip_adapter_run"].clock.keeps) or make_levels(model, t, options)
    )
    guider.sample(torch.zeros_like(latent), latent, comfy.samplers.sampler_object("euler"), rising, seed=0)
    assert clocks and not any(clocks)


RAMP = WeightCurve(((0.0, 1.0), (1.0, 0.1)))


def own_levels(seen: Watch, starts: Callable[[list[Decided]], Decided]) -> list[float]:
    """The level of the step that each call is of. `starts` tells the first call among those up to a report."""
    firsts = [
        starts([call for call in seen.decided if call.reported == step])
        for step in sorted({call.reported for call in seen.decided})
        if step < seen.reported
    ]
    places = [next(at for at, call in enumerate(seen.decided) if call is first) for first in firsts]
    own = [firsts[sum(place <= at for place in places) - 1] for at in range(len(seen.decided))]
    return [RAMP.value(position_of(call.sigma, seen.sampling)) for call in own]


def first(calls: list[Decided]) -> Decided:
    return calls[0]


def last(calls: list[Decided]) -> Decided:
    return calls[-1]


def own_and_used(sampler, starts=last, sigmas=None):
    return owned_and_used(watch(sampler, Strength(curves=(RAMP,)), sigmas), starts)


def owned_and_used(seen: Watch, starts=last) -> tuple[list[float], list[float]]:
    return own_levels(seen, starts), [call.level for call in seen.decided]


@cache
def ramped(name: str) -> Watch:
    """A run of a sampler with a curve, for all that is asked of it."""
    return watch(comfy.samplers.sampler_object(name), Strength(curves=(RAMP,)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_loop_tells_the_noise_level_of_every_steps_first_call_but_the_runs(name):
    """Samplers that compute their way back to a noise level come within rounding of it."""
    seen = ramped(name)
    told = [(call.told, call.sigma) for call in seen.decided if call.told is not None]
    assert [said for said, _ in told] == pytest.approx([sigma for _, sigma in told], rel=1e-5)
    steps = {call.reported for call in seen.decided if 0 < call.reported < seen.reported}
    assert len(told) == (0 if name in OWN_LEVELS else len(steps))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_call_of_a_step_has_the_steps_own_level(name):
    """A sampler reports a step after its first call; the adaptive one after its last."""
    seen = ramped(name)
    own, used = owned_and_used(seen, first if name == "dpm_adaptive" else last)
    assert used == pytest.approx(own, abs=1e-4)
    assert len(set(used)) > 1
    assert seen.reads == (len(used) if name in OWN_LEVELS else 0)


OPTIONS = [
    ("dpm_2_ancestral", {"eta": 1.5}),  # some steps add all the noise that is left anew, and end without any
    ("dpmpp_2s_ancestral", {"eta": 3.0}),
    ("sa_solver", {"use_pece": True}),
    ("sa_solver_pece", {"corrector_order": 0}),
    ("seeds_2", {"r": 1.0, "solver_type": "phi_2"}),
    ("heun", {"s_churn": 3.0}),
    ("dpm_2", {"s_churn": 3.0}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, options", OPTIONS)
def test_a_samplers_options_leave_every_call_its_steps_level(name, options):
    own, used = own_and_used(comfy.samplers.ksampler(name, options))
    assert used == pytest.approx(own, abs=1e-4) and len(set(used)) > 1


TWICE = ("heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "dpmpp_sde", "seeds_3", "sa_solver_pece", "dpm_fast")
PARTS = {
    "the first steps": lambda sigmas: sigmas[:4],
    "the last steps": lambda sigmas: sigmas[2:],
    "one step": lambda sigmas: sigmas[:2],
    "seven steps": lambda sigmas: torch.cat([sigmas[:1] * 1.2, sigmas]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", TWICE)
def test_a_run_of_a_part_of_the_steps_leaves_every_call_its_steps_level(name, part):
    sigmas = comfy.samplers.calculate_sigmas(make_pair(LEAST).host.model.model_sampling, "normal", 6)
    own, used = own_and_used(comfy.samplers.sampler_object(name), sigmas=PARTS[part](sigmas))
    assert used == pytest.approx(own, abs=1e-4) and used


def calls_twice(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A sampler that no table knows."""
    for step in range(len(sigmas) - 1):
        denoised = model(x, sigmas[step] * x.new_ones(len(x)), **extra_args)
        callback({"i": step, "x": x, "denoised": denoised, "sigma": sigmas[step]})
        model(x, (sigmas[step] + sigmas[step + 1]) / 2 * x.new_ones(len(x)), **extra_args)
    return x


def test_an_unknown_sampler_is_found_out_and_read():
    seen = watch(comfy.samplers.KSAMPLER(calls_twice), Strength(curves=(RAMP,)))
    assert [call.level for call in seen.decided] == pytest.approx(
        [RAMP.value(position_of(call.sigma, seen.sampling)) for call in seen.decided], abs=1e-4
    )


def test_a_loop_that_calls_more_often_than_its_rule_says_is_lost():
    clock = StepClock([14.0, 7.0, 6.0, 4.0, 0.0])
    report = clock.listen(None)
    for step in range(2):
        clock.count()
        assert clock.step == step and clock.keeps
        report(step)
    clock.count()
    clock.count()
    assert not clock.keeps and clock.step == 2
    assert clock.start(6.0) == 6.0 and clock.start(5.0) == 5.0
    late = StepClock([14.0, 7.0, 0.0], lambda step, sigmas: 2)
    late.count()
    late.listen(None)(0)
    late.count()
    late.listen(None)(1)  # where a second call of step 0 was due
    assert not late.keeps
