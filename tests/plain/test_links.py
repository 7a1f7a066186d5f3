"""Every relative link of the documents leads somewhere, and every page is found from the README."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest

from tests.conftest import ROOT
from tests.schema.texts import shipped_files

FILES = frozenset(shipped_files())
FOLDERS = frozenset(str(folder) for file in FILES for folder in PurePosixPath(file).parents)
DOCUMENTS = sorted(file for file in FILES if re.fullmatch(r"(docs/|docs/zh/|lab/)?\w+[\w.-]*\.md", file))
ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:")

# Code is no text: what looks like a link or a heading in it is none.
CODE = re.compile(r"^ *(```|~~~).*?^ *\1 *$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^)>\s]+)[^)]*\)|^\[[^\]]+\]: +(\S+)|<(?:img|a)[^>]+(?:src|href)=\"([^\"]+)\"", re.MULTILINE)
HEADING = re.compile(r"^#+ (.+?)(?: #+)?$", re.MULTILINE)


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def links(text: str) -> list[str]:
    """Where a text's links and pictures lead, those to other hosts left out."""
    found = [unquote(next(filter(None, groups))) for groups in LINK.findall(CODE.sub("", text))]
    return [target for target in found if not ELSEWHERE.match(target)]


def anchors(text: str) -> set[str]:
    """The names of a text's headings, as the usual renderers make them; a name that comes again is numbered."""
    names = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings(text)]
    return {f"{name}-{before}" if before else name for name, before in zip(names, counts_before(names), strict=True)}


def headings(text: str) -> list[str]:
    """A text's headings, a link in them as its words."""
    return [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in HEADING.findall(FENCED.sub("", text))]


def counts_before(names: list[str]) -> Iterator[int]:
    """How often each name was there already."""
    seen: Counter[str] = Counter()
    for name in names:
        yield seen[name]
        seen[name] += 1


def place(document: str, target: str) -> str:
    """The path in the checkout that a link of a document leads to; the document's own for a mere anchor."""
    path = target.partition("#")[0]
    return posixpath.normpath(posixpath.join(posixpath.dirname(document), path)) if path else document


def leads_somewhere(document: str, target: str) -> bool:
    """Whether a link names a file or folder that is committed, and a heading that is in it."""
    there, anchor = place(document, target), target.partition("#")[2]
    return anchor in anchors(read(there)) if anchor and there in FILES else there in FILES | FOLDERS


def found_from(document: str) -> set[str]:
    """The documents that somebody comes to who follows links."""
    found, next_ones = set[str](), {document}
    while next_ones:
        found |= next_ones
        leading = {place(one, target) for one in next_ones for target in links(read(one))}
        next_ones = (leading & set(DOCUMENTS)) - found
    return found


def test_the_documents_are_known():
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/README.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    assert [target for target in links(read(document)) if not leads_somewhere(document, target)] == []


def test_every_page_is_found_from_the_readme():
    assert set(DOCUMENTS) - found_from("README.md") == set()


@pytest.mark.parametrize("document", ["README.md", "README.zh.md"])
def test_the_readme_stays_short(document):
    assert len(read(document).splitlines()) <= 150


def test_links_are_known_from_what_only_looks_like_one():
    text = '[a](b.md) ![c](<d.png> "e") [![f](g.jpg)](h.md#i)\n[k]: l.md\n<img alt="m" src="n.png">\n'
    assert links(text) == ["b.md", "d.png", "g.jpg", "h.md#i", "l.md", "n.png"]
    assert links("[a](https://b.c/d) [e](mailto:f) `[g](h)`\n```\n[i](j)\n```\n") == []


def test_anchors_are_named_as_renderers_name_them():
    text = "# Coming from `A_b` (c)\n## [d](e)\n## What's **new**?\n## d\n```\n# no heading\n```\n"
    assert anchors(text) == {"coming-from-a_b-c", "d", "whats-new", "d-1"}


@pytest.mark.parametrize(
    "target", ["no_such_page.md", "README.md#no-such-heading", "#no-such-heading", "../../README.md"]
)
def test_a_link_that_leads_nowhere_is_found(target):
    assert leads_somewhere("README.md", "docs/training.md#the-data") and leads_somewhere("docs/training.md", "../tests")
    assert not leads_somewhere("README.md", target)
