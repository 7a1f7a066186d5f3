"""What is looked at before a weights file is read: that it is a file, of which kind, and how much reading it can cost.

A few kilobytes can be made to ask for hours or for all of the memory. Whatever reads a file of the user's begins here.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from enum import Enum
from pathlib import Path

import torch

from ..errors import IPAdapterError
from ..numbers import shorten
from .pickles import overfull, refuse_endless_pickles
from .torch_zip import ZIP, refuse_swollen_zip

MOST_TENSORS = 20_000  # a whole SDXL checkpoint has 2,515
LARGEST_HEADER = 16 * 2**20  # bytes; LoRAs keep a few MB of their training pictures' tags in theirs
MOST_QUOTES = 12 * MOST_TENSORS  # a tensor's entry has ten
LONGEST_STRUCTURE = 64 * MOST_TENSORS  # bytes of a header without its texts; a tensor's entry has about 40

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

NOT_WEIGHTS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights themselves: download the real file"),
    (b"<!doctype html", "is a web page, not weights: download it again with the site's download button"),
    (b"<html", "is a web page, not weights: download it again with the site's download button"),
)
BLANK = b"\xef\xbb\xbf \t\r\n"  # what a web page may begin with

NOT_FILES = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Container(Enum):
    """How a file keeps its tensors."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "a torch file whose tensors can stay on the disk"
    TORCH_OLD = "a torch file of the time before"


def inspect(path: Path, name: str) -> Container:
    """Which kind of file it is. Raises IPAdapterError for one that is missing, empty, no file or costly to read."""
    head = read_head(path, name)
    refuse_other_files(head, name)
    if head[8:9] == b"{":
        refuse_header(path, name)
        return Container.SAFETENSORS
    if head.startswith(ZIP):
        refuse_swollen_zip(path, name)
        return Container.TORCH_ZIP
    refuse_endless_pickles(path, head, name)
    return Container.TORCH_OLD


def read_head(path: Path, name: str) -> bytes:
    """The first bytes of a file that has some. What is no file is not opened: that could wait for ever."""
    try:
        refuse_no_file(path, name)
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise IPAdapterError(f"'{name}' cannot be read: {error.strerror}.") from error
    if not head:
        raise IPAdapterError(f"'{name}' is empty (0 bytes): download it again.")
    return head


def refuse_no_file(path: Path, name: str) -> None:
    """Refuse pipes, sockets and devices, and names that no file can have."""
    refuse_name(str(path))
    kind = NOT_FILES.get(stat.S_IFMT(path.stat().st_mode))
    if kind:
        raise IPAdapterError(f"'{name}' is {kind}, not a file, so it was not opened: put a weights file there.")


def refuse_name(name: object) -> None:
    """Refuse what no file can be called: nothing, a number, a text with NUL or half of a character."""
    try:
        if isinstance(name, str) and b"\0" not in os.fsencode(name):
            return
    except UnicodeEncodeError:
        pass
    raise IPAdapterError(f"{shorten(ascii(name))} is no name that a file can have: choose another.")


def refuse_other_files(head: bytes, name: str) -> None:
    """Refuse what is often saved in place of weights."""
    for magic, sentence in NOT_WEIGHTS:
        if head.lstrip(BLANK).lower().startswith(magic):
            raise IPAdapterError(f"'{name}' {sentence}.")


def refuse_header(path: Path, name: str) -> None:
    """Refuse a safetensors header that lists more than any model has, or numbers of a kind that is not read."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        text = file.read(min(length, LARGEST_HEADER + 1))
    if len(text) > LARGEST_HEADER or is_overfull(text):
        raise overfull(name)
    unread = sorted(types_of(text) - DTYPES.keys())
    if unread:
        raise IPAdapterError(
            f"'{name}' stores numbers as {unread[0][:12]!r}, which is not known here: use a copy in F32, F16 or BF16."
        )


def is_overfull(text: bytes) -> bool:
    """Whether JSON holds too many texts, or too much beside them. Escaped quotes end no text."""
    plain = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > MOST_QUOTES:
        return True
    between = plain.split(b'"')[::2]
    return sum(len(piece.translate(None, b" \t\r\n")) for piece in between) > LONGEST_STRUCTURE


def types_of(text: bytes) -> set[str]:
    """The kinds of numbers a header names; none where it is no header, which the library says itself."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return set()
    entries = header.values() if isinstance(header, dict) else ()
    types = (entry.get("dtype") for entry in entries if isinstance(entry, dict))
    return {kind for kind in types if isinstance(kind, str)}
