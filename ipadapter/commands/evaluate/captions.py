"""Captions of images, in the layouts and encodings that people keep them in."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import IPAdapterError
from ...files.captions import lines_of, name_in, read_table, read_text, text_beside
from ...numbers import shorten

Captions = dict[str, list[str]]  # an image's file name -> its captions


def read_json(path: Path) -> Any:
    """A JSON file. Raises IPAdapterError naming the place where it is none."""
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise IPAdapterError(f"'{path.name}' is JSON in too many brackets, so it holds no captions.") from error
    except json.JSONDecodeError as error:
        raise IPAdapterError(f"'{path.name}' is not JSON: {error.msg} in line {error.lineno}.") from error


def text_captions(images: Sequence[Path]) -> Captions:
    """Captions from the .txt of the same stem beside each image that has one."""
    texts = {image.name: text_beside(image) for image in images}
    return {name: lines_of(text) for name, text in texts.items() if text is not None}


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
        name_in(name, path.parent): lines_of(value) if isinstance(value, str) else [*map(str.strip, value)]
        for name, value in data.items()
    }


def is_caption(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def table_captions(path: Path) -> Captions:
    """A table with a column of file names and one of captions; an image with several captions has several rows."""
    found: Captions = defaultdict(list)
    for row in read_table(path):
        if row.caption:
            found[row.image].append(row.caption)
    return dict(found)
