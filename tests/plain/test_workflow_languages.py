"""What the shipped workflows bring with them for who reads another language than English."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tools.workflows.titles import TITLES, graph_file

HAN = re.compile(r"[\u4e00-\u9fff]")
LINKS = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
MARKS = re.compile(r"^(#+|-) ", re.MULTILINE)  # of headings and lists
THE_SAME = {"ControlNet"}  # titles that are names


@pytest.fixture(params=TITLES)
def graph(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(graph_file(request.param).read_text(encoding="utf-8"))
    return found


def english_note(graph: dict[str, Any]) -> str:
    text: str = next(node for node in graph["nodes"] if node["type"] == "MarkdownNote")["widgets_values"][0]
    return text


def test_every_title_has_a_chinese_one(graph: dict[str, Any]) -> None:
    titles = graph["extra"]["languages"]["zh"]["titles"]
    assert {*titles} == {one["title"] for one in (*graph["nodes"], *graph["groups"]) if "title" in one}
    assert [title for title in titles.values() if not HAN.search(title) and title not in THE_SAME] == []


def test_the_chinese_note_has_the_same_lines_and_links(graph: dict[str, Any]) -> None:
    chinese, english = graph["extra"]["languages"]["zh"]["note"], english_note(graph)
    assert LINKS.findall(chinese) == LINKS.findall(english)
    assert MARKS.findall(chinese) == MARKS.findall(english)
    assert [line for line in chinese.splitlines() if line and not HAN.search(line)] == []


def test_english_is_all_that_stands_in_the_graph_itself(graph: dict[str, Any]) -> None:
    assert not HAN.search(json.dumps(graph | {"extra": {}}, ensure_ascii=False))
