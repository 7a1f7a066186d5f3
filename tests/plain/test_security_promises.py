"""SECURITY.md names a test for each promise; it has to be there."""

from __future__ import annotations

import ast
import re

from tests.naming import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_promise_names_tests_that_there_are():
    rows = [line for line in TEXT.splitlines() if line.startswith("| **")]
    assert len(rows) == 5
    for row in rows:
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", row)
        assert named, row
        missing = [name for file, name in named if name not in functions_of(file)]
        assert not missing, f"{missing} in {row}"


def functions_of(file: str) -> set[str]:
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    return {statement.name for statement in body if isinstance(statement, ast.FunctionDef)}
