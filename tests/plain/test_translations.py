"""A Chinese page has what its English one has: headings, tables, pictures, links, code."""

from __future__ import annotations

import json
import posixpath
import re
from urllib.parse import unquote

import pytest

from tests.conftest import ROOT
from tests.plain.test_links import CODE, DOCUMENTS, FENCED, HEADING, LINK, anchors, place, read

CHINESE = sorted(name for name in DOCUMENTS if name == "README.zh.md" or name.startswith("docs/zh/"))
MARKS = re.compile(r"^(#+) ", re.MULTILINE)
ROW = re.compile(r"^ *\|.*\|$", re.MULTILINE)
CELL = re.compile(r"(?<!\\)\|")
LISTED = re.compile(r"^ *(?:-|\d+\.) ", re.MULTILINE)
CODED = re.compile(r"`([^`\n]+)`")
HAN = re.compile(r"[\u4e00-\u9fff]")
COMMENT = re.compile(r" *#.*|<[^>\n]*>")


def english_of(document: str) -> str:
    """The page that a Chinese one is a translation of."""
    return "README.md" if document == "README.zh.md" else document.replace("docs/zh/", "docs/")


def table_shape(text: str) -> list[int]:
    """How many cells each row of each table has."""
    return [len(CELL.split(row)) for row in ROW.findall(FENCED.sub("", text))]


def ordered_anchors(text: str) -> list[str]:
    """The names of a text's headings in their order."""
    titles = HEADING.findall(FENCED.sub("", text))
    return [next(iter(anchors(f"# {title}"))) for title in titles]


def target(document: str, link: str) -> str:
    """Where a link leads, a Chinese page as its English one and a heading as its number."""
    if re.match(r"[a-z]+:", link):
        return link
    path, anchor = place(document, link), link.partition("#")[2]
    number = f"#{ordered_anchors(read(path)).index(anchor)}" if anchor else ""
    return english_of(path) + number


def targets(document: str) -> list[str]:
    """Where the links and pictures of a page lead, sorted: sentences have other orders of words."""
    found = LINK.findall(CODE.sub("", read(document)))
    return sorted(target(document, unquote(next(filter(None, groups)))) for groups in found)


def sorted_code(text: str) -> list[str]:
    """What is set as code within lines, without Chinese in it."""
    return sorted(code for code in CODED.findall(FENCED.sub("", text)) if not HAN.search(code))


def blocks(text: str) -> list[str]:
    """The blocks of code, without what is said in words in them."""
    return [COMMENT.sub("", block.group()) for block in FENCED.finditer(text)]


def both(document: str) -> tuple[str, str]:
    """A Chinese page and its English one."""
    return read(document), read(english_of(document))


def test_the_pages_that_users_read_are_there():
    pages = {posixpath.basename(name) for name in CHINESE}
    assert pages >= {"README.zh.md", "README.md", "nodes.md", "using.md", "models.md", "faces.md", "faq.md"}
    assert pages >= {"troubleshooting.md", "recipes.md", "flux.md", "method.md", "migration.md", "ipadapter-plus.md"}
    assert pages >= {"coming-from.md", "trying.md", "training.md", "evaluation.md"}


@pytest.mark.parametrize("document", CHINESE)
def test_both_have_the_same_headings_lists_and_tables(document):
    chinese, english = both(document)
    for shape in (MARKS.findall, LISTED.findall, table_shape):
        assert shape(chinese) == shape(english)


@pytest.mark.parametrize("document", CHINESE)
def test_both_lead_to_the_same_places(document):
    assert targets(document) == targets(english_of(document))


@pytest.mark.parametrize("document", CHINESE)
def test_both_show_the_same_code(document):
    chinese, english = both(document)
    wanted = [code for code in sorted_code(english) if not code.startswith("position: ")]
    assert sorted_code(chinese) == wanted


@pytest.mark.parametrize("document", CHINESE)
def test_both_have_the_same_blocks_of_code(document):
    chinese, english = both(document)
    assert blocks(chinese) == blocks(english)


@pytest.mark.parametrize("document", CHINESE)
def test_chinese_pages_lead_to_chinese_ones(document):
    translated = {english_of(name) for name in CHINESE} - {english_of(document)}
    found = (unquote(next(filter(None, groups))) for groups in LINK.findall(CODE.sub("", read(document))))
    assert [link for link in found if place(document, link) in translated] == []


@pytest.mark.parametrize("document", CHINESE)
def test_headings_and_paragraphs_are_chinese(document):
    text = re.sub(r"\([^)]*\)", "", CODE.sub("", read(document)))
    lines = [line for line in text.splitlines() if len(line) > 60 and not line.lstrip().startswith("|")]
    assert [line for line in lines if not HAN.search(line)] == []


def test_nodes_are_named_as_the_chinese_front_end_names_them():
    defined = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    names = {node["display_name"] for node_id, node in defined.items() if not node_id.startswith("Legacy")}
    page = read("docs/zh/nodes.md")
    assert [name for name in sorted(names) if f"| **{name}** |" not in page] == []
