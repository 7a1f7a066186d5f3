"""docs/method.md quotes the code as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
QUOTE = re.compile(r"\]\(\.\./([\w/]+\.py)\)[^\n]*\n\n```python\n(.*?)```", re.DOTALL)
QUOTES = QUOTE.findall(PAGE)
GAP = "..."


def test_every_block_of_code_says_whose_it_is():
    assert len(QUOTES) == PAGE.count("```python") >= 10


@pytest.mark.parametrize(("file", "quote"), QUOTES, ids=[file for file, _ in QUOTES])
def test_the_lines_that_are_quoted_are_there(file, quote):
    rest = (ROOT / file).read_text(encoding="utf-8")
    for piece in pieces_of(quote):
        _, found, rest = f"\n{rest}".partition(f"\n{piece}\n")
        assert found, f"{file} has no lines\n{piece}"


def pieces_of(quote: str) -> Iterator[str]:
    """The runs of whole lines in a quote."""
    return (piece.strip("\n") for piece in quote.split(f"{GAP}\n"))


@pytest.mark.parametrize("number", range(1, 9))
def test_every_equation_of_the_paper_is_there(number):
    assert re.search(rf"^> \((?:\d, )?{number}(?:, \d)?\)", PAGE, re.MULTILINE)
