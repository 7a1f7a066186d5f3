"""The paper's claims in the laboratory, measured again on a few references; the page says what was measured."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from lab.evidence.__main__ import MEASURED, PAGE, load, main, page
from lab.evidence.claims import CLAIMS
from lab.evidence.tables import WHOLE, Extent
from lab.evidence.verdicts import VERDICTS

pytestmark = pytest.mark.slow

FEW = Extent(references=3, seeds=2)


def of_claim(name: str) -> pytest.MarkDecorator:
    """Keeps the tests of a claim in one process, which measures it once."""
    return pytest.mark.xdist_group(f"claim {name}")


EVERY_CLAIM = pytest.mark.parametrize("name", [pytest.param(name, marks=of_claim(name)) for name in CLAIMS])


def test_the_page_is_what_the_kept_numbers_say():
    assert PAGE.read_text(encoding="utf-8") == page({})


def test_every_claim_was_measured_on_enough_references():
    for name in CLAIMS:
        rows = load(name).rows.values()
        assert rows and all(len(set(row.groups)) >= 24 for row in rows), name
    assert {path.stem for path in MEASURED.glob("*.json")} == set(CLAIMS)


@pytest.mark.parametrize("count", ["0", "1", "-3", "many"])
def test_too_few_references_are_refused_and_the_kept_numbers_stay(count, capsys):
    before = {path: path.read_bytes() for path in (PAGE, *MEASURED.glob("*.json"))}
    with pytest.raises(SystemExit):
        main(["follows", "--references", count])
    assert "--references" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (PAGE, *MEASURED.glob("*.json"))} == before


def test_a_section_says_how_many_references_it_was_measured_on():
    few = replace(load("structure"))
    few.rows = {
        key: replace(row, values=row.values[: 2 * WHOLE.seeds], groups=row.groups[: 2 * WHOLE.seeds])
        for key, row in few.rows.items()
    }
    said = page({"structure": few})
    assert said.count("Measured on 2 references.") == 1
    assert said.count(f"Measured on {WHOLE.references} references.") == len(CLAIMS) - 1


@cache
def measured_now(name: str):
    """A claim on the first few of the page's pictures."""
    with torch.inference_mode():
        return CLAIMS[name](FEW)


def kept_of(row) -> list[float]:
    """The page's values for the same pictures: of each reference the first seeds'."""
    pictures = enumerate(zip(row.values, row.groups, strict=True))
    return [
        value
        for number, (value, group) in pictures
        if group < FEW.references and number % WHOLE.seeds < FEW.seeds  # a reference's seeds stand side by side
    ]


@EVERY_CLAIM
def test_a_claim_measured_again_says_the_same(name: str):
    """The same numbers, up to what another machine rounds."""
    now, kept = measured_now(name), load(name)
    assert now.rows.keys() == kept.rows.keys()
    for key, row in now.rows.items():
        before = kept_of(kept.rows[key])
        assert len(row.values) == len(before)
        same = sum(abs(a - b) < 0.05 for a, b in zip(row.values, before, strict=True))
        assert same >= 0.8 * len(before), key


@EVERY_CLAIM
def test_what_holds_clearly_on_the_page_holds_here(name: str):
    """Statements whose interval is far from zero, on the mean of the few."""
    clear = [
        verdict
        for verdict in VERDICTS[name](load(name))
        if verdict.holds
        and 0.15 < (verdict.difference.low or 0) < verdict.difference.mean < 1  # no distances in pixels
    ]
    now = {verdict.statement: verdict.difference.mean for verdict in VERDICTS[name](measured_now(name))}
    assert all(now[verdict.statement] > 0 for verdict in clear)


@of_claim("nothing_at_zero")
def test_nothing_at_zero_is_exact():
    for row in measured_now("nothing_at_zero").rows.values():
        assert set(row.values) == {0.0}
