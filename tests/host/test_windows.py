"""Windows are decided right for every sampler the host has, mostly without reading a noise level from the device."""

from __future__ import annotations

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from pack.ipadapter.host.patching import KEY, apply_image_prompt
from pack.ipadapter.host.windows import SigmaWindow, StepClock, Timing, acting
from pack.ipadapter.strength import Strength

from tests.image_prompts import image_prompt
from tests.small import MICRO, make_pair
from tests.world import Settings, adapter_file, conditioning, host_adapter, noise_for

OWN_LEVELS = {"dpm_fast", "dpm_adaptive"}  # they choose noise levels themselves
SAMPLERS = sorted({*comfy.samplers.SAMPLER_NAMES, *comfy.samplers.KSAMPLER_NAMES})


class Watched(torch.Tensor):
    """A tensor that counts how often a number is read from it."""

    reads = 0

    def __float__(self):
        Watched.reads += 1
        return float(self.as_subclass(torch.Tensor))


def decisions(sampler: str, steps: int = 6) -> tuple[list[bool], list[bool], int]:
    """For each call of a run: what was decided, what its noise level says, and how many levels were read."""
    adapter = host_adapter(adapter_file(MICRO, "base"))
    model = apply_image_prompt(make_pair(MICRO).host, adapter, image_prompt(), Strength(1.0, 0.3, 0.7))
    (rows,) = model.get_wrappers(WrappersMP.APPLY_MODEL, KEY)
    sampling = model.model.model_sampling
    window = SigmaWindow(sampling.percent_to_sigma(0.3), sampling.percent_to_sigma(0.7))
    decided, right = [], []
    make_levels = rows.levels
    Watched.reads = 0

    def levels(model, t, options):
        made = make_levels(model, t.as_subclass(Watched), options)
        decided.append(bool(made))
        right.append(window.holds(float(t[0])))
        return made

    rows.levels = levels
    settings = Settings(steps=steps, cfg=1.0)
    comfy.sample.sample(
        model, noise_for(settings), steps, 1.0, sampler, "normal", conditioning(MICRO, 1), conditioning(MICRO, 2),
        torch.zeros(1, 4, *settings.size), disable_pbar=True, seed=1,
    )  # fmt: skip
    return decided, right, Watched.reads


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
    adapter = host_adapter(adapter_file(MICRO, "base"))
    model = apply_image_prompt(make_pair(MICRO).host, adapter, image_prompt(), Strength(1.0, 0.0, 0.5))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(MICRO, 1), conditioning(MICRO, 2))
    rising = torch.tensor([0.1, 0.5, 2.0, 8.0, 14.0])
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    (rows,) = model.get_wrappers(WrappersMP.APPLY_MODEL, KEY)
    clocks, make_levels = [], rows.levels
    rows.levels = lambda model, t, options: (
        clocks.append(options["ip_adapter_run"].clock) or make_levels(model, t, options)
    )
    guider.sample(torch.zeros_like(latent), latent, comfy.samplers.sampler_object("euler"), rising, seed=0)
    assert clocks and not any(clocks)
