"""Torch files as zip archives: a pickle, and a record for each tensor's numbers, all of them stored as they are.

torch reads compressed records too, and records that lie over each other: a few kilobytes could become all of memory.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from ..errors import IPAdapterError
from .pickles import damaged, overfull, refuse_endless_pickle

ZIP = b"PK\x03\x04"  # what such a file begins with
END, END_64, LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
END_SIZE, END_64_SIZE, LOCATOR_SIZE = 22, 56, 20
LONGEST_COMMENT = 65535
LARGEST_DIRECTORY = 4 * 2**20  # bytes; a record's entry has about 100
PICKLE = "data.pkl"


def refuse_swollen_zip(path: Path, name: str) -> None:
    """Raises IPAdapterError for an archive whose records are more than the file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if directory_size(file, size) > LARGEST_DIRECTORY:
                raise overfull(name)
            refuse_records(zipfile.ZipFile(file).infolist(), file, size, name)
    except IPAdapterError:
        raise
    except (zipfile.BadZipFile, struct.error, ValueError, OSError, NotImplementedError) as error:
        raise damaged(name) from error


def directory_size(file: BinaryIO, size: int) -> int:
    """Bytes of the list of records. Raises ValueError where it is not where torch puts it, just before the end.

    Readers of archives look for it in several ways, and only there all of them find the same.
    """
    start = max(0, size - END_SIZE - LONGEST_COMMENT)
    file.seek(start)
    tail = file.read()
    found = tail.rfind(END)
    length, begin = struct.unpack_from("<2L", tail, found + 12) if found >= 0 else (0, 0)
    end = start + found
    if found >= LOCATOR_SIZE and tail.startswith(LOCATOR_64, found - LOCATOR_SIZE):
        (end,) = struct.unpack_from("<Q", tail, found - LOCATOR_SIZE + 8)
        length, begin = directory_64(file, end, start + found)
    if found < 0 or begin + length != end:
        raise ValueError("the list of records is not before the end")
    return int(length)


def directory_64(file: BinaryIO, at: int, before: int) -> tuple[int, int]:
    """Bytes of the list and where it begins, of an archive with long records."""
    if at + END_64_SIZE + LOCATOR_SIZE != before:
        raise ValueError("the end of the archive is not at its end")
    file.seek(at)
    record = file.read(END_64_SIZE)
    if not record.startswith(END_64):
        raise ValueError("the archive has no end")
    length, begin = struct.unpack_from("<2Q", record, 40)
    return length, begin


def refuse_records(records: list[zipfile.ZipInfo], file: BinaryIO, size: int, name: str) -> None:
    """Refuse compressed and overlapping records, and pickles that do not end."""
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise IPAdapterError(
            f"'{name}' is a torch file with compressed records, which torch never writes: use the .safetensors "
            "version, or another copy."
        )
    if sum(record.file_size for record in records) > size or any(r.file_size != r.compress_size for r in records):
        raise damaged(name)
    for record in records:
        if record.filename.lower().endswith(PICKLE):
            refuse_endless_pickle(content(record, file), name)


def content(record: zipfile.ZipInfo, file: BinaryIO) -> bytes:
    """A stored record's bytes; torch may leave its checksum out, which zipfile would not read."""
    file.seek(record.header_offset + 26)
    name, extra = struct.unpack("<2H", file.read(4))
    file.seek(name + extra, 1)
    return file.read(record.file_size)
