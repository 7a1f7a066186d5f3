"""Captions as people keep them: texts and tables in any Unicode encoding, with any line ends and names of columns."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import IPAdapterError
from ..numbers import shorten

TEXT_MARKS = (  # longest first
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
IMAGE_COLUMNS = ("file_name", "file", "image", "image_file", "filename", "path")
CAPTION_COLUMNS = ("text", "caption", "captions", "prompt")
STRAY = ("._", ".DS_Store")  # what macOS puts beside files, by the beginning of its name
STRAY_FOLDER = "__MACOSX"


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One row of a table: a picture as its folder has it, and what is said of it."""

    image: str
    caption: str | None


Values = Mapping[str, Any]  # a row's, by column


# Text


def read_text(path: Path) -> str:
    """A file in UTF-8 or UTF-16, with or without a byte order mark. Raises IPAdapterError for anything else."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IPAdapterError(f"'{path.name}' cannot be read: {error.strerror}.") from error
    return decode(content, path.name)


def text_beside(picture: Path, extension: str = "txt") -> str | None:
    """The text in the file of a picture's stem, its ending in capitals or not; None where there is none."""
    spellings = (picture.with_suffix(f".{spelled}") for spelled in (extension, extension.upper(), extension.lower()))
    found = next((path for path in spellings if path.is_file()), None)
    return None if found is None else read_text(found)


def decode(content: bytes, name: str) -> str:
    """The same of bytes that are there."""
    try:
        text = content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        raise IPAdapterError(not_text(name, f"byte {error.start + 1} does not belong to {error.encoding}")) from error
    if "\0" in text:
        raise IPAdapterError(not_text(name, "it holds zero bytes, as a binary file does"))
    return text


def not_text(name: str, why: str) -> str:
    """The sentence for another encoding."""
    return f"'{name}' is not text in UTF-8 or UTF-16 ({why}): save it as UTF-8."


def encoding_of(content: bytes) -> str:
    """By the byte order mark; without one, text with a zero in every second byte is UTF-16 and all other is UTF-8."""
    for mark, name in TEXT_MARKS:
        if content.startswith(mark):
            return name
    zeros = (content[0::2].count(0), content[1::2].count(0))
    if max(zeros) * 4 > len(content):
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return "utf-8"


def lines_of(text: str) -> list[str]:
    """Lines that are not empty. Unicode's other separators are part of a line, as in the programs that write them."""
    return [line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip()]


# Tables


def read_table(path: Path) -> list[CaptionRow]:
    """Pictures and captions from a .csv with a header or a .jsonl of one object a line.

    Raises IPAdapterError naming the file, and the line where one is not as the others.
    """
    rows = list(TABLE_READERS[path.suffix](read_text(path), path.name))
    columns = dict.fromkeys(column for _, values in rows for column in values)
    if rows and not (set(columns) & {*IMAGE_COLUMNS} and set(columns) & {*CAPTION_COLUMNS}):
        raise IPAdapterError(other_columns(path.name, list(columns)))
    named = ((image_in_row(values, path.name, line), values) for line, values in rows)
    return [CaptionRow(name_in(image, path.parent), caption_in_row(values)) for image, values in named]


def other_columns(name: str, columns: list[str]) -> str:
    """The sentence for a table of something else."""
    return (
        f"'{name}' has the columns {shorten(', '.join(columns)) or 'none'}, where one of {', '.join(IMAGE_COLUMNS)} "
        f"and one of {', '.join(CAPTION_COLUMNS)} are needed."
    )


def csv_rows(text: str, name: str) -> Iterator[tuple[int, Values]]:
    """Lines and their values by the names of the first."""
    reader = csv.reader(io.StringIO(text, newline=None), skipinitialspace=True)  # any line ends
    try:
        heads = [column_name(head) for head in next(reader, [])]
        if not {*heads} & {*IMAGE_COLUMNS} or not {*heads} & {*CAPTION_COLUMNS}:
            raise IPAdapterError(other_columns(name, heads))
        for cells in reader:
            if any(cell.strip() for cell in cells):
                refuse_more_cells(cells, heads, name, reader.line_num)
                yield reader.line_num, dict(zip(heads, cells, strict=False))
    except csv.Error as error:
        raise IPAdapterError(f"'{name}' is not CSV in line {reader.line_num}: {error}.") from error


def refuse_more_cells(cells: list[str], heads: list[str], name: str, line: int) -> None:
    """Refuse a row with more than there are columns: a caption with a comma would lose what is behind it."""
    if any(cell.strip() for cell in cells[len(heads) :]):
        raise IPAdapterError(
            f"'{name}' has {len(cells)} values in line {line}, where its first line names {len(heads)}: put quotation "
            'marks around captions with commas, as in a.png,"a cat, asleep".'
        )


def json_rows(text: str, name: str) -> Iterator[tuple[int, Values]]:
    """Lines and the values of their objects."""
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise IPAdapterError(f"'{name}' is not JSON in line {number}: {error}.") from error
        if not isinstance(row, dict):
            raise IPAdapterError(f"'{name}' holds a {type(row).__name__} in line {number}, where an object is needed.")
        yield number, {column_name(key): value for key, value in row.items()}


TABLE_READERS: dict[str, Callable[[str, str], Iterator[tuple[int, Values]]]] = {".csv": csv_rows, ".jsonl": json_rows}


def column_name(head: str) -> str:
    """A column's name whatever its case, with underscores for spaces."""
    return "_".join(head.lower().split())


def image_in_row(values: Values, name: str, line: int) -> str:
    """The picture that a row is about. Raises IPAdapterError where it names none."""
    found = next((values[column] for column in IMAGE_COLUMNS if column in values), None)
    if not isinstance(found, str) or not found.strip():
        raise IPAdapterError(
            f"'{name}' names no picture in line {line}: write its file under one of {', '.join(IMAGE_COLUMNS)}, or "
            "take out the line."
        )
    return found.strip()


def caption_in_row(values: Values) -> str | None:
    """What a row says, if it says something."""
    found = next((values[column] for column in CAPTION_COLUMNS if column in values), None)
    return found.strip() if isinstance(found, str) else None


def name_in(given: str, folder: Path) -> str:
    """A picture's path below a folder, however a table has it.

    That is: absolute, from the folder or from where the program runs, with `./`, with another system's slashes.
    """
    if "\\" in given and not os.path.isfile(os.path.join(folder, given)):
        given = given.replace("\\", "/")
    root = os.path.abspath(folder)
    path = os.path.join(root, given)
    if "/" in given and not os.path.isfile(path) and os.path.isfile(given):
        path = os.path.abspath(given)
    try:
        return Path(os.path.relpath(path, root)).as_posix()
    except ValueError:  # on another drive
        return given


def is_stray(path: str) -> bool:
    """Whether a file is one that macOS puts beside others."""
    *folders, name = path.split("/")
    return name.startswith(STRAY) or STRAY_FOLDER in folders
