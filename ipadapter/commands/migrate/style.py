"""How a JSON file is written: encoding, byte order mark, line ends, indentation. A change in it keeps all that."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
CLOSE_SEPARATORS, USUAL_SEPARATORS = (",", ":"), (", ", ": ")


@dataclass(frozen=True)
class Style:
    """Everything about a file but the values in it."""

    encoding: str = "utf-8"
    mark: bytes = b""  # before the text
    newline: str = "\n"
    indent: int | str | None = 2  # None where all is in one line
    separators: tuple[str, str] | None = None  # where it is
    end: str = "\n"  # behind the text
    is_escaped: bool = False  # letters beyond ASCII are written as \\u….

    def write(self, graph: Mapping[str, Any] | list[Any]) -> bytes:
        """A graph as such a file. Halves of characters, which no encoding has, are escaped."""
        text = json.dumps(graph, ensure_ascii=self.is_escaped, indent=self.indent, separators=self.separators)
        return self.mark + (text + self.end).replace("\n", self.newline).encode(self.encoding, "backslashreplace")


def read_style(content: bytes) -> tuple[str, Style]:
    """A file's text, and how it is written. Raises UnicodeDecodeError where it is no text."""
    mark, encoding = next(((mark, name) for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), (b"", "utf-8"))
    bare = encoding.removesuffix("-sig")
    text = content[len(mark) :].decode(bare)
    return text, style_of(text, mark, bare)


def style_of(text: str, mark: bytes, encoding: str) -> Style:
    """How a text is laid out."""
    newline = "\r\n" if "\r\n" in text else "\n"
    body = text.rstrip()
    indent = indentation(body)
    separators = None if indent is not None else USUAL_SEPARATORS if '": ' in body else CLOSE_SEPARATORS
    end = text[len(body) :].replace("\r\n", "\n")
    return Style(encoding, mark, newline, indent, separators, end, body.isascii() and "\\u" in body)


def indentation(text: str) -> int | str | None:
    """How far the second line stands in: so many spaces, or tabs. None where there is one line."""
    found = re.match(r"[^\n]*\n([ \t]*)", text)
    if found is None:
        return None
    return found[1] if "\t" in found[1] else len(found[1])
