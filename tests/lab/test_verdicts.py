"""What the page says of made-up numbers: which way a difference counts, and when the opposite of a claim holds."""

from __future__ import annotations

import pytest

from lab.designs import DESIGNS, FOUR, SIMPLE, SIXTEEN, WHOLE_MODEL
from lab.evidence.page import verdict_lines
from lab.evidence.runs import condition_of
from lab.evidence.tables import Table
from lab.evidence.verdicts import VERDICTS, runs_of
from lab.evidence.wide import ANOTHER, BY_NIGHT, DISTANCES, MEASURES, UNSAID

GROUPS = 8


def table_of(levels: dict[str, float]) -> Table:
    """Every measure of every condition about a level, a little higher with each reference."""
    table = Table()
    for condition, level in levels.items():
        for measure in MEASURES:
            for group in range(GROUPS):
                table.add(condition, measure, [level + 0.01 * group], group)
    return table


def levels(near: float, **others: float) -> dict[str, float]:
    """A level for every run of the designs and for another reference."""
    every = {one: near for design in DESIGNS for one in runs_of(design)} | {ANOTHER: near}
    for name, level in others.items():
        every |= {one: level for one in runs_of({"simple": SIMPLE, "four": FOUR, "sixteen": SIXTEEN}[name])}
    return every


@pytest.mark.parametrize("measure", MEASURES)
def test_a_smaller_distance_and_a_larger_share_are_nearer(measure: str):
    table = table_of(levels(1.0, four=2.0))
    said = {verdict.statement: verdict for verdict in VERDICTS["designs"](table)}
    one = said[f"{measure.removesuffix(', pixels')}: {FOUR.title} nearer than {SIMPLE.title}"]
    other = said[f"{measure.removesuffix(', pixels')}: {SIXTEEN.title} nearer than {FOUR.title}"]
    expected = ("**the opposite holds**", "holds") if measure in DISTANCES else ("holds", "**the opposite holds**")
    assert (one.said, other.said) == expected
    assert abs(abs(one.difference.mean) - 1) < 1e-9


def test_no_difference_does_not_hold():
    assert {verdict.said for verdict in VERDICTS["designs"](table_of(levels(1.0)))} == {"**does not hold**"}


def test_every_design_is_held_against_another_reference():
    statements = [verdict.statement for verdict in VERDICTS["designs"](table_of(levels(1.0)))]
    assert sum("nearer than another reference" in one for one in statements) == len(DESIGNS) * len(UNSAID)


def test_one_run_that_differs_from_the_others_counts_with_them():
    table = table_of(levels(1.0) | {condition_of(FOUR, 1): 3.0})
    (made,) = [
        one for one in VERDICTS["designs"](table) if one.statement == f"CLIP-I: {FOUR.title} nearer than {SIMPLE.title}"
    ]
    assert made.difference.mean == pytest.approx(2.0 / FOUR.runs)


def test_the_adapter_is_compared_with_the_whole_model_and_by_night():
    table = table_of({FOUR.title: 2.0, WHOLE_MODEL.title: 1.0, ANOTHER: 1.0, BY_NIGHT: 1.0})
    said = {verdict.statement: verdict.said for verdict in VERDICTS["whole_model"](table)}
    assert said[f"CLIP-I: {FOUR.title} nearer than {WHOLE_MODEL.title}"] == "holds"
    assert said[f"place: {FOUR.title} nearer than {WHOLE_MODEL.title}"] == "**the opposite holds**"
    assert said[f"place: {BY_NIGHT} nearer than another reference"] == "**does not hold**"


def test_the_page_prints_what_is_said():
    lines = verdict_lines(VERDICTS["designs"](table_of(levels(1.0, four=2.0))))
    assert any(line.endswith("| holds |") for line in lines)
    assert any(line.endswith("| **the opposite holds** |") for line in lines)
