"""The nodes as they are written: schemas that can be seen whole, and what nodes share in one place."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.schema.texts import ROOT

FILES = sorted((ROOT / "nodes").rglob("*.py"))
WHOLE = 40  # lines that are seen at once
RUN = 6


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return (node for node in tree if isinstance(node, ast.FunctionDef))


def test_a_schema_can_be_seen_whole():
    schemas = [(path, one) for path in FILES for one in functions(path) if one.name == "define_schema"]
    assert schemas
    assert [(path.name, one.lineno) for path, one in schemas if one.end_lineno - one.lineno >= WHOLE] == []


def written(path: Path) -> list[tuple[int, str]]:
    """Number and text of every line but the empty ones and those of signatures, in which alike nodes are alike."""
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    signatures = {line for one in functions(path) for line in range(one.lineno, one.body[0].lineno)}
    return [(number, line.strip()) for number, line in lines if line.strip() and number not in signatures]


def test_no_run_of_lines_is_written_twice():
    places = defaultdict(list)
    for path in FILES:
        lines = written(path)
        for start in range(len(lines) - RUN + 1):
            run = tuple(text for _, text in lines[start : start + RUN])
            places[run].append((path.name, lines[start][0]))
    assert [found for found in places.values() if len(found) > 1] == []
