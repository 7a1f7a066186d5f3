"""Reading and writing the files of graphs. Nothing is overwritten but the file itself, and that only with a backup."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import IPAdapterError
from ...files.replacing import standing_in
from ...legacy.migration.documents import migration_of
from . import style
from .style import Style

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST_GRAPH = 256 * 2**20  # bytes; a graph is never so large
STANDARD_STREAM = Path("-")  # standard input, and where its graph goes standard output


@dataclass(frozen=True)
class GraphSource:
    """A graph, where it was found, and how it is written there."""

    path: Path
    graph: dict[str, Any]
    style: Style
    is_picture: bool = False


def read_source(path: Path) -> GraphSource:
    """A graph from a JSON file, standard input or a PNG of ComfyUI's. Raises IPAdapterError for anything else."""
    content = sys.stdin.buffer.read() if path == STANDARD_STREAM else read_file(path)
    if content.startswith(PNG):
        return GraphSource(path, graph_in_picture(content, path), Style(), is_picture=True)
    try:
        text, written = style.read_style(content)
    except UnicodeDecodeError:
        raise IPAdapterError(f"'{path}' is neither JSON nor a PNG: give a workflow that ComfyUI saved.") from None
    return GraphSource(path, refuse_other(parse_json(text, path), path), written)


def read_file(path: Path) -> bytes:
    """What is in a file."""
    if path.is_dir():
        raise IPAdapterError(f"'{path}' is a folder: name the files in it, such as {path / '*.json'}.")
    if not path.is_file():
        raise IPAdapterError(f"there is no file '{path}'.")
    if path.stat().st_size > LARGEST_GRAPH:
        raise IPAdapterError(f"'{path}' has {path.stat().st_size} bytes, which no workflow has.")
    return path.read_bytes()


def parse_json(text: str, path: Path) -> Any:
    """The JSON."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise IPAdapterError(f"'{path}' is no valid JSON{place}: save the workflow again in ComfyUI.") from None


def refuse_other(data: Any, path: Path) -> dict[str, Any]:
    """A graph in one of the two formats, or a file that holds some."""
    if migration_of(data) is not None:
        return dict(data)
    raise IPAdapterError(f"'{path}' is JSON, but no workflow of ComfyUI: it has neither nodes and links nor classes.")


def graph_in_picture(content: bytes, path: Path) -> dict[str, Any]:
    """The workflow in a picture's text, else its prompt."""
    texts = picture_texts(content, path)
    for key in ("workflow", "prompt"):
        if key in texts:
            return refuse_other(parse_json(texts[key], path), path)
    raise IPAdapterError(f"'{path}' is a PNG without a workflow in it: drag one into ComfyUI that it saved itself.")


def picture_texts(content: bytes, path: Path) -> Mapping[str, str]:
    """The text chunks."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return {key: str(value) for key, value in getattr(image, "text", {}).items()}
    except Exception:  # decoders raise whatever a damaged file leads them to
        raise IPAdapterError(f"'{path}' is a damaged PNG: its workflow cannot be read.") from None


def refuse_unwritable(path: Path) -> None:
    """Refuse, before anything is changed, a place where no file can be written."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise IPAdapterError(f"'{path}' cannot be written, for there is no folder '{folder}': make it first.")
    if path.is_dir():
        raise IPAdapterError(f"'{path}' is a folder: name a file in it.")
    if not os.access(folder, os.W_OK) or (path.exists() and is_read_only(path)):
        raise IPAdapterError(f"'{path}' may not be written: change its permissions, or choose another place.")


def is_read_only(path: Path) -> bool:
    """Whether a file may not be written, or is marked so, which the administrator could pass over."""
    return not os.access(path, os.W_OK) or not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


def refuse_existing(path: Path) -> None:
    """A new file has a place of its own."""
    refuse_unwritable(path)
    if path.exists():
        raise IPAdapterError(f"'{path}' is there already: remove it, or give another name.")


def save(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; one that was there keeps its mode, and a link to it stays one.

    Raises OSError where the disk does not take it.
    """
    place = path.resolve()
    with standing_in(place) as temporary:
        temporary.write_bytes(content)
        if place.exists():
            shutil.copymode(place, temporary)


def back_up(path: Path) -> Path:
    """A copy under a name that is free: name.json.bak, name.json.bak2 …"""
    numbers = ("", *map(str, range(2, 10_000)))
    for name in (path.with_name(f"{path.name}.bak{number}") for number in numbers):
        try:
            with name.open("xb") as copy:
                copy.write(path.read_bytes())
            return name
        except FileExistsError:
            continue
    raise IPAdapterError(f"'{path}' has too many backups: remove some of them.")
