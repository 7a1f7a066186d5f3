"""What an image prompt costs in FLUX: counts, which no busy machine can disturb."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from pack.ipadapter.host.sampling.patching import apply_image_prompt, rows_of
from pack.ipadapter.strength.strength import Strength

from tests.flux import FLUX, SMALL, WIDTH, flux_adapter, flux_picture, flux_prompt, make_flux
from tests.host.test_cost import PROJECTIONS, image_attentions
from tests.world import host_adapter
from tools.bench import counting

MASKS = {"everywhere": None, "masked": torch.tensor([[[0.0, 1.0], [1.0, 0.5]]])}
EVEN = replace(FLUX, size=(8, 6))


def step(model) -> counting.Ops:
    return counting.ops_of_a_step(model, lambda model: flux_picture(model, EVEN))


@cache
def bare_step() -> counting.Ops:
    return step(make_flux())


def extra(family, mask=None, strength=None) -> counting.Ops:
    model = apply_image_prompt(
        make_flux(), host_adapter(flux_adapter(family)), flux_prompt(), strength or Strength(), MASKS.get(mask)
    )
    return counting.extra(step(model), bare_step())


# Operations that each block's image prompt adds, most of them views: a part of the query, the attention, heads brought
# together in three, the addition; where text stands before the picture, it is cut off and put back.
MOST = {
    ("XLabs FLUX", "everywhere"): 6 * SMALL.double,
    ("XLabs FLUX", "masked"): 7 * SMALL.double,
    ("InstantX FLUX", "everywhere"): 9 * SMALL.double + 5 * SMALL.single,
    ("InstantX FLUX", "masked"): 10 * (SMALL.double + SMALL.single),
}


@pytest.mark.parametrize(("family", "mask"), MOST)
def test_an_image_prompt_adds_its_attention_and_an_addition_and_waits_for_nothing(family, mask):
    ops = extra(family, mask)
    assert image_attentions(ops) == (SMALL.double if family == "XLabs FLUX" else SMALL.double + SMALL.single)
    assert ops.total() <= MOST[family, mask], ops
    assert counting.syncs(ops) == 0 and not PROJECTIONS & ops.keys(), ops
    assert not any("upsample" in name for name in ops), ops


def test_a_second_image_prompt_costs_as_much_as_the_first():
    one = extra("InstantX FLUX").total()
    model = apply_image_prompt(
        apply_image_prompt(make_flux(), host_adapter(flux_adapter("InstantX FLUX")), flux_prompt(), Strength()),
        host_adapter(flux_adapter("InstantX FLUX", seed=7)),
        flux_prompt(seed=4),
        Strength(),
    )
    assert counting.extra(step(model), bare_step()).total() <= 2 * one


@pytest.mark.parametrize("family", ["XLabs FLUX", "InstantX FLUX"])
def test_only_keys_and_values_are_held_while_sampling(family):
    """Of one conditioning, as FLUX.1-dev is sampled: K' and V' of each block, a row for one picture."""
    model = apply_image_prompt(make_flux(), host_adapter(flux_adapter(family)), flux_prompt(), Strength())
    rows, held = rows_of(model), []
    make = rows.make
    rows.make = lambda call: held.append(made := make(call)) or made
    flux_picture(model, EVEN)
    (made,) = held
    layers, tokens = (SMALL.double, 4) if family == "XLabs FLUX" else (SMALL.double + SMALL.single, 8)
    assert made.size == 2 * layers * tokens * WIDTH * 4
