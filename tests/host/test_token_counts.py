"""Images and negatives of any two numbers: exact, and no more than what was given."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from pack.ipadapter.attention import packing
from pack.ipadapter.host.sampling.patching import applications_of, apply_image_prompt
from pack.ipadapter.prompts.prompt import ImagePrompt, Order
from pack.ipadapter.strength.layers import PresetRule
from pack.ipadapter.strength.strength import Scaling, Strength

from tests.image_prompts import image_prompt
from tests.small import MICRO, SHALLOW_SDXL, make_pair
from tests.world import SMALLEST, Settings, adapter_file, host_adapter, picture, sample
from tools.bench import counting

TOLERANCE = 1e-5
ONE_STEP = Settings(steps=1, batch=2, size=SMALLEST.size)


def prompt_of(images: int, negatives: int, weights=None, order=Order.TOGETHER) -> ImagePrompt:
    """References with images to move away from."""
    prompt, away = image_prompt(images), image_prompt(negatives, seed=7)
    part = replace(prompt.parts[0], negative=away.parts[0].positive, weights=weights, order=order)
    return replace(prompt, parts=(part,))


def applied(prompt: ImagePrompt, layout=MICRO, family="base", **strength):
    adapter = host_adapter(adapter_file(layout, family))
    return apply_image_prompt(make_pair(layout).host, adapter, prompt, Strength(**strength))


@cache
def bare(layout) -> torch.Tensor:
    """The base model's own output."""
    return sample(make_pair(layout).host, layout, ONE_STEP)[1][0].output


CASES = {
    "plain": {},
    "plus": {"family": "plus"},
    "mean of values": {"scaling": Scaling.KEYS_AND_MEAN_BY_WIDTH, "weight": 0.7},
    "keys too": {"scaling": Scaling.KEYS_AND_VALUES, "weight": 0.7},
    "by frame": {"frames": (1.0, 0.3)},
    "inverted layers": {"layers": (PresetRule("style transfer precise"),), "layout": SHALLOW_SDXL},
}
COUNTS = [(3, 2), (2, 3), (5, 4)]


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_rows_that_are_filled_up_are_exactly_rows_that_are_repeated(case, counts, weighed, monkeypatch):
    settings = {"layout": MICRO} | CASES[case]
    weights = tuple(0.3 + 0.4 * index for index in range(counts[0])) if weighed else None
    layout, drawn = settings["layout"], []
    for length in (packing.common_length, math.lcm):
        monkeypatch.setattr(packing, "common_length", length)
        drawn.append(sample(applied(prompt_of(*counts, weights), **settings), layout, ONE_STEP)[1][0].output)
    assert (drawn[0] - drawn[1]).abs().max() <= TOLERANCE
    assert (drawn[0] - bare(layout)).abs().max() > 1e-3


def test_frames_with_other_negatives_are_exact_too(monkeypatch):
    run, drawn = Settings(steps=1, batch=3, size=SMALLEST.size), []
    for length in (packing.common_length, math.lcm):
        monkeypatch.setattr(packing, "common_length", length)
        drawn.append(picture(applied(prompt_of(3, 3, order=Order.FRAME_BY_FRAME), family="plus"), MICRO, run))
    assert (drawn[0] - drawn[1]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("counts", [(31, 30), (30, 31), (7, 64), (127, 101), (1, 50), (50, 1), (12, 4)], ids=str)
def test_what_is_held_grows_with_the_images_and_not_with_their_product(counts):
    (app,) = applications_of(applied(prompt_of(*counts)))
    (one,) = applications_of(applied(prompt_of(1, 1)))
    assert app.tokens <= one.tokens * max(counts) + packing.ALIGNED
    assert app.packed.still.nbytes <= (max(counts) + packing.ALIGNED / one.tokens) * one.packed.still.nbytes


def step(model) -> counting.Ops:
    """The operations of one step."""
    return counting.ops_of_a_step(model, lambda model: picture(model, MICRO, Settings(steps=2, size=SMALLEST.size)))


@cache
def usual_step() -> counting.Ops:
    """Those with one image."""
    return step(applied(image_prompt()))


@pytest.mark.parametrize("counts", [(1, 1), (4, 1), (4, 2), (1, 4)], ids=str)
def test_numbers_that_go_into_each_other_need_no_mask_and_no_more_operations(counts):
    several = applied(prompt_of(*counts))
    assert all(app.lengths is None for app in applications_of(several))
    assert step(several) == usual_step()


def test_a_mask_of_tokens_costs_two_operations_a_layer_at_most():
    masked = step(applied(prompt_of(3, 2)))
    assert counting.extra(masked, usual_step()).total() <= 2 * MICRO.expected_layers, masked


@pytest.mark.parametrize("counts", [(3, 2), (2, 5), (1, 9)], ids=str)
def test_by_hand_a_row_attends_to_its_own_tokens_alone(counts):
    generator = torch.Generator().manual_seed(1)
    sides = [
        packing.Weighed(torch.randn(1, 4 * count, 8, generator=generator), torch.ones(1, 4 * count, 1))
        for count in counts
    ]
    made = packing.side_by_side(*sides)
    lengths = made.lengths or (made.rows.shape[1],) * 2
    hidden = packing.hide(lengths[:2], made.rows.shape[1], torch.device("cpu"), torch.float32)
    query = torch.randn(2, 1, 5, 8, generator=generator)
    keys = made.rows.unsqueeze(1)
    together = torch.nn.functional.scaled_dot_product_attention(query, keys, keys, attn_mask=hidden)
    for row, side in enumerate(sides):
        own = side.tokens.unsqueeze(1)
        alone = torch.nn.functional.scaled_dot_product_attention(query[row : row + 1], own, own)
        assert torch.allclose(together[row : row + 1], alone, atol=1e-6)
