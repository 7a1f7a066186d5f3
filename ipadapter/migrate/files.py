"""Reading and writing the files of graphs. Nothing is overwritten but the file itself, and that only with a backup."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import IPAdapterError
from ..migration.api_format import is_prompt
from ..migration.ui_format import is_workflow

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST = 256 * 2**20  # bytes; a graph is never so large


@dataclass(frozen=True)
class Source:
    """A graph and where it was found. `text` is None for a picture's."""

    path: Path
    graph: dict[str, Any]
    text: str | None

    @property
    def is_picture(self) -> bool:
        return self.text is None


def read_source(path: Path) -> Source:
    """A graph from a JSON file or a PNG of ComfyUI's. Raises IPAdapterError for anything else."""
    if path.is_dir():
        raise IPAdapterError(f"'{path}' is a folder: name the files in it, such as {path / '*.json'}.")
    if not path.is_file():
        raise IPAdapterError(f"there is no file '{path}'.")
    if path.stat().st_size > LARGEST:
        raise IPAdapterError(f"'{path}' has {path.stat().st_size} bytes, which no workflow has.")
    content = path.read_bytes()
    if content.startswith(PNG):
        return Source(path, graph_in_picture(path), None)
    text = decode(content, path)
    return Source(path, refuse_other(parse(text, path), path), text)


def decode(content: bytes, path: Path) -> str:
    """JSON is UTF-8; some editors put a mark in front."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise IPAdapterError(f"'{path}' is neither JSON nor a PNG: give a workflow that ComfyUI saved.") from None


def parse(text: str, path: Path) -> Any:
    """The JSON."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise IPAdapterError(f"'{path}' is no valid JSON{place}: save the workflow again in ComfyUI.") from None


def refuse_other(data: Any, path: Path) -> dict[str, Any]:
    """A graph in one of the two formats."""
    if is_workflow(data) or is_prompt(data):
        return dict(data)
    raise IPAdapterError(f"'{path}' is JSON, but no workflow of ComfyUI: it has neither nodes and links nor classes.")


def graph_in_picture(path: Path) -> dict[str, Any]:
    """The workflow in a picture's text, else its prompt."""
    texts = picture_texts(path)
    for key in ("workflow", "prompt"):
        if key in texts:
            return refuse_other(parse(texts[key], path), path)
    raise IPAdapterError(f"'{path}' is a PNG without a workflow in it: drag one into ComfyUI that it saved itself.")


def picture_texts(path: Path) -> Mapping[str, str]:
    """The text chunks."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return {key: str(value) for key, value in getattr(image, "text", {}).items()}
    except (OSError, SyntaxError, ValueError):
        raise IPAdapterError(f"'{path}' is a damaged PNG: its workflow cannot be read.") from None


def write_text(graph: Mapping[str, Any], like: str | None) -> str:
    """JSON, indented as the text it was read from and with the same end."""
    indent = indentation(like) if like is not None else 2
    separators = None if indent is not None else (",", ":") if '": ' not in (like or "") else (", ", ": ")
    end = "\n" if like is None or like.endswith("\n") else ""
    return json.dumps(graph, ensure_ascii=False, indent=indent, separators=separators) + end


def indentation(text: str) -> int | None:
    """How far the second line stands in, or None where there is one line."""
    lines = text.rstrip().split("\n", 2)
    return len(lines[1]) - len(lines[1].lstrip(" ")) if len(lines) > 1 else None


def save(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


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


def refuse_existing(path: Path) -> Path:
    """A new file's place."""
    if path.exists():
        raise IPAdapterError(f"'{path}' is there already: remove it, or give another name.")
    return path
