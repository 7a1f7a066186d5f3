"""How the designs are compared: the same pictures and noise for all, and what a flat curve is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lab import designs, files, store
from lab.adapting import Lesson
from lab.designs import (
    BATCH,
    DESIGNS,
    EXAM,
    FLAT,
    FOUR,
    NEAR,
    ROUNDS,
    SIMPLE,
    SIXTEEN,
    STEPS,
    WHOLE_MODEL,
    Curve,
    chosen,
    recipe_of,
)
from lab.evidence.runs import kept_rows
from lab.evidence.tables import WHOLE, Extent
from lab.evidence.wide import MEASURES

EVERY = (*DESIGNS, WHOLE_MODEL)


def test_a_curve_is_flat_where_its_last_third_brings_little():
    assert Curve([1.0, 0.6, 0.51, 0.5], untold=1.0).is_flat
    assert not Curve([1.0, 0.9, 0.7, 0.5], untold=1.0).is_flat
    assert Curve([1.0, 0.9, 0.7, 0.5], untold=1.0).late == pytest.approx(0.4)


def test_every_design_has_the_same_budget():
    for one in ROUNDS:
        recipes = {replace(recipe_of(design, 1e-3, one, 0), kind=FOUR.kind) for design in EVERY}
        assert len(recipes) == 1
    assert sum(one.steps for one in ROUNDS) == STEPS


def test_no_rate_tried_left_a_smaller_loss_that_can_be_told_apart():
    report = store.read_report()
    for design in EVERY:
        told = report[design.name]
        assert told["trials"][f"{told['rate']:g}"] <= min(told["trials"].values()) + NEAR
        assert set(told["trials"]) == {f"{rate:g}" for rate in design.rates}
        assert told["rate"] == chosen({float(rate): loss for rate, loss in told["trials"].items()})


@pytest.mark.parametrize(
    ("losses", "rate"),
    [
        ({1e-3: 0.5, 3e-3: 0.4, 1e-2: 0.6}, 3e-3),
        ({1e-4: 0.3, 1e-3: 0.5, 3e-3: 0.4}, 1e-4),
        ({1e-4: 0.4, 1e-3: 0.4 + NEAR / 2, 3e-3: 0.5}, 1e-3),
        ({3e-3: 0.4 + NEAR / 2, 1e-2: 0.4}, 3e-3),
    ],
)
def test_the_rate_with_the_smallest_loss_is_taken_and_of_equals_the_one_in_the_middle(losses, rate):
    assert chosen(losses) == rate


def test_no_design_took_a_rate_at_the_edge_of_those_tried():
    report = store.read_report()
    assert all(design.rates[0] < report[design.name]["rate"] < design.rates[-1] for design in EVERY)


def test_the_rate_falls_to_nothing_in_the_last_round():
    recipe = recipe_of(FOUR, 1e-3, ROUNDS[-1], 0)
    assert recipe.rate(ROUNDS[-1].steps - 1) < 1e-5 and recipe.rate(recipe.warmup_steps) == 1e-3


def test_every_run_is_reported_with_its_curve():
    report = store.read_report()
    for design in EVERY:
        curves = report[design.name]["curves"]
        assert [len(points) for points in curves] == [1 + STEPS // designs.LOOK_EVERY] * design.runs
        assert all(points[-1] < report[design.name]["untold"] for points in curves)


def test_every_run_was_measured_on_every_reference():
    for design in EVERY:
        rows = kept_rows(design, WHOLE)
        assert len(rows) == design.runs * (len(MEASURES) + 1)
        assert all(len(row.values) == WHOLE.references * WHOLE.seeds for row in rows)
        assert all(row.groups == [0, 0, 1, 1, 2, 2] for row in kept_rows(design, Extent(3, 2)))


@pytest.fixture(scope="module")
def small():
    """A few made-up features in place of encoded pictures."""
    rows = torch.randn(EXAM, 128)
    words = torch.randn(1, 24, 128)
    return Lesson(torch.randn(EXAM, 4, 8, 8), rows, torch.zeros(1, 128), words, torch.zeros(EXAM, dtype=torch.long))


@pytest.fixture(scope="module")
def frozen():
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        designs.frozen_unet(files.load_model(designs.WIDE), None, gradient_checkpointing=False) as made,
    ):
        yield made


def test_the_exam_asks_every_picture_once_at_noise_levels_evenly_apart(small, frozen):
    batches = designs.exam_of(small, frozen)
    sigmas = torch.cat([batch.sigma for batch in batches]).sort().values
    assert len(sigmas) == EXAM and len(sigmas.unique()) == EXAM
    assert {len(batch.sigma) for batch in batches} == {BATCH}
    again = designs.exam_of(small, frozen)
    assert all(torch.equal(one.noise, other.noise) for one, other in zip(batches, again, strict=True))


def test_the_simple_and_the_decoupled_adapter_begin_with_one_projection(small, frozen):
    room = designs.Class(frozen, small, [], frozen.patcher.model.diffusion_model.state_dict())
    one, other = (room.begin(design, 3) for design in (SIMPLE, FOUR))
    assert torch.equal(one.adapter.proj.weight, other.adapter.image_proj.proj.weight)
    assert room.begin(SIXTEEN, 3).adapter.spec.projection.tokens == 16


def test_flat_was_said_beforehand():
    assert FLAT == 0.05
