"""Captions of images, in the layouts and encodings that people keep them in."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import IPAdapterError
from ..numbers import shorten

Captions = dict[str, list[str]]  # an image's file name -> its captions

MARKS = (  # longest first
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
IMAGE_COLUMNS = ("image", "file_name", "filename", "file", "path")
CAPTION_COLUMNS = ("caption", "captions", "text", "prompt")


def read_text(path: Path) -> str:
    """A file in UTF-8, with or without a byte order mark, or in UTF-16. Raises IPAdapterError for other encodings."""
    try:
        data = path.read_bytes()
        return data.decode(encoding_of(data))
    except OSError as error:
        raise IPAdapterError(f"'{path.name}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise IPAdapterError(
            f"'{path.name}' is neither UTF-8 nor UTF-16 (byte {error.start} does not belong there): save it as UTF-8."
        ) from error


def encoding_of(data: bytes) -> str:
    """By the byte order mark; without one, text with a zero in every second byte is UTF-16 and all other is UTF-8."""
    for mark, name in MARKS:
        if data.startswith(mark):
            return name
    zeros = (data[0::2].count(0), data[1::2].count(0))
    if max(zeros) * 4 > len(data):
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return "utf-8"


def read_json(path: Path) -> Any:
    """A JSON file. Raises IPAdapterError naming the place where it is none."""
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise IPAdapterError(f"'{path.name}' is JSON in too many brackets, so it holds no captions.") from error
    except json.JSONDecodeError as error:
        raise IPAdapterError(f"'{path.name}' is not JSON: {error.msg} in line {error.lineno}.") from error


def lines_of(text: str) -> list[str]:
    """One caption a line; empty lines are none."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def text_captions(images: Sequence[Path]) -> Captions:
    """Captions from the .txt of the same stem beside each image that has one."""
    beside = {image.name: image.with_suffix(".txt") for image in images}
    return {name: lines_of(read_text(path)) for name, path in beside.items() if path.is_file()}


def coco_captions(path: Path) -> Captions:
    """Captions of a COCO annotation file: all of an image's, in their order."""
    data = read_json(path)
    try:
        names = {image["id"]: str(image["file_name"]) for image in data["images"]}
        found: Captions = defaultdict(list)
        for annotation in data["annotations"]:
            found[names[annotation["image_id"]]].append(str(annotation["caption"]).strip())
    except (KeyError, TypeError) as error:
        lacking = f"no {shorten(str(error.args[0]))!r}" if isinstance(error, KeyError) else "other lists and objects"
        raise IPAdapterError(
            f"'{path.name}' is not COCO's layout of captions (it has {lacking}): it needs images with id and "
            "file_name, and annotations with image_id and caption."
        ) from error
    return dict(found)


def json_captions(path: Path) -> Captions:
    """A JSON object: file name to a caption, or to a list of them."""
    data = read_json(path)
    if not isinstance(data, Mapping) or not all(is_caption(value) for value in data.values()):
        raise IPAdapterError(
            f"'{path.name}' does not map file names to captions: it needs the form "
            '{"cat.jpg": "a cat on a wall"} or {"cat.jpg": ["a cat", "a wall"]}.'
        )
    return {
        name: lines_of(value) if isinstance(value, str) else [*map(str.strip, value)] for name, value in data.items()
    }


def is_caption(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def csv_captions(path: Path) -> Captions:
    """A table with a column of file names and one of captions; an image with several captions has several rows."""
    rows = read_csv(path)
    if not rows:
        raise IPAdapterError(f"'{path.name}' is empty: it needs a row 'image,caption' and one for each caption.")
    heads = [head.strip().lower() for head in rows[0]]
    image, caption = (column(heads, names) for names in (IMAGE_COLUMNS, CAPTION_COLUMNS))
    if image is None or caption is None:
        raise IPAdapterError(
            f"'{path.name}' has the columns {shorten(', '.join(heads))}: it needs one named image and one named "
            "caption."
        )
    found: Captions = defaultdict(list)
    for row in rows[1:]:
        if len(row) > max(image, caption) and row[caption].strip():
            found[row[image].strip()].append(row[caption].strip())
    return dict(found)


def read_csv(path: Path) -> list[list[str]]:
    """A table with any line ends. Raises IPAdapterError where it is none."""
    try:
        return list(csv.reader(io.StringIO(read_text(path), newline=None)))
    except csv.Error as error:
        raise IPAdapterError(f"'{path.name}' is not CSV: {error}.") from error


def column(heads: Sequence[str], names: Sequence[str]) -> int | None:
    """Where the first of some names is among a table's heads."""
    return next((heads.index(name) for name in names if name in heads), None)
