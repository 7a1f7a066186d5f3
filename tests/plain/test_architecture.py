"""The page on the architecture says what is so."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import tomllib

from tools import rooms

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEP = re.compile(r"^\d+\. \[[^\]]+\]\(\.\./([\w/.]+)\): (.*)$", re.MULTILINE)
DECISION = re.compile(r"\[[\w.]+\]\(\.\./(tests/[\w/]+\.py)\) `(test_\w+)`")
WALKS = {
    title: STEP.findall(text)
    for title, _, text in (part.partition("\n") for part in re.split(r"^###? ", PAGE, flags=re.MULTILINE))
    if STEP.search(text)
}


def floors() -> dict[str, int]:
    """How high each room stands, by the contracts of pyproject.toml; the nodes stand above all."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    outer, inner = (
        {room: height for height, names in enumerate(reversed(contract["layers"])) for room in names.split(" | ")}
        for contract in settings["tool"]["importlinter"]["contracts"][:2]
    )
    engine = {f"ipadapter/{room}": 100 * height for room, height in outer.items()}
    host = {f"ipadapter/host/{room}": engine["ipadapter/host"] + height for room, height in inner.items()}
    return {"nodes": 10_000} | engine | host


def height_of(file: str, heights: dict[str, int]) -> int:
    """That of the innermost room that a file is in."""
    rooms_around = [parent.as_posix() for parent in Path(file).parents]
    return next(heights[room] for room in rooms_around if room in heights)


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def test_there_are_two_walks():
    assert [len(steps) for steps in WALKS.values()] == [13, 11]


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_goes_through_what_is_there_and_only_down(title):
    heights = floors()
    for file, says in WALKS[title]:
        names = {name for name in re.findall(r"`(\w+)`", says)}
        assert names & defined_in(ROOT / file) == names, file
    walked = [height_of(file, heights) for file, _ in WALKS[title]]
    assert walked == sorted(walked, reverse=True)


def test_every_decision_is_held_by_a_test_that_is_there():
    rows = [line for line in PAGE.partition("## Decisions")[2].partition("## In numbers")[0].splitlines()[4:] if line]
    assert len(rows) >= 13
    for row in rows:
        held = DECISION.findall(row)
        assert held, row
        assert all(name in defined_in(ROOT / file) for file, name in held), row


def test_every_room_is_on_the_page():
    folders = {path.name for path in (ROOT / "ipadapter").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {name for name in folders if f"](../ipadapter/{name})" in PAGE} == folders


def test_the_numbers_are_those_of_now():
    assert rooms.with_table(PAGE) == PAGE, "run: python -m tools.rooms --write"


def test_no_function_is_longer_than_can_be_seen():
    assert [function for function in rooms.functions() if function.lines > rooms.LONG] == []


def test_no_name_is_defined_twice():
    assert rooms.repeated_names() == {}
