"""What a training set consists of: where each picture's bytes lie, and its caption.

A folder holds pictures with a text file of the same stem beside each, or a `captions.csv` or `metadata.jsonl` for all
of them. Shards are tar files in the layout of WebDataset: the members of one example follow each other and have the
same name up to the first dot. Tar files keep their members as they are, so a picture in a shard is, like one in a
folder, a piece of a file, and both are read in any order.
"""

from __future__ import annotations

import glob
import math
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path, PurePosixPath

from ...errors import IPAdapterError
from ...files.captions import decode, is_stray, read_table, text_beside
from ...files.pictures import PICTURE_ENDINGS, is_picture
from ..naming import MOST_NAMED, name_some

CAPTION_TABLES = ("captions.csv", "metadata.jsonl")


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture and its caption. `start` and `size` are bytes of `file`; `changed` is the file's, in ns."""

    name: str
    caption: str | None
    file: Path
    start: int
    size: int
    changed: int

    def read(self) -> bytes:
        """The picture as it is stored."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


def complete(entries: list[Entry], empty_captions: bool, hint: str) -> list[Entry]:
    """Refuse pictures without a caption, unless they are to be taken with an empty one."""
    without = [entry.name for entry in entries if entry.caption is None]
    if without and not empty_captions:
        raise IPAdapterError(
            f"{len(without)} of {len(entries)} pictures have no caption: {name_some(without)}. {hint}, or set "
            'data.missing_captions = "empty" to train them on an empty text.'
        )
    return entries


# A folder


def list_folder(folder: Path, extension: str) -> list[Entry]:
    """Every picture below a folder, in the order of their names, captions where there are any."""
    if not folder.is_dir():
        raise IPAdapterError(f"'{folder}' is not a folder: data.folder names one with pictures.")
    pictures = sorted(path for path in folder.rglob("*") if is_picture(path.relative_to(folder)) and path.is_file())
    if not pictures:
        raise IPAdapterError(f"'{folder}' holds no pictures ({', '.join(sorted(PICTURE_ENDINGS))}): put some there.")
    caption = caption_finder(folder, extension)
    return [folder_entry(path, folder, caption(path)) for path in pictures]


def folder_entry(path: Path, folder: Path, caption: str | None) -> Entry:
    """A picture that is a whole file."""
    about = path.stat()
    return Entry(path.relative_to(folder).as_posix(), caption, path, 0, about.st_size, about.st_mtime_ns)


def caption_finder(folder: Path, extension: str) -> Callable[[Path], str | None]:
    """How this folder's captions are found: in one table for all, or in a file for each."""
    for name in CAPTION_TABLES:
        if (folder / name).is_file():
            table = captions_in(folder / name)
            return lambda path: table.get(path.relative_to(folder).as_posix())
    return lambda path: None if (text := text_beside(path, extension.lstrip("."))) is None else text.strip()


def captions_in(path: Path) -> dict[str, str]:
    """Captions by picture, of a table; the last of a picture counts."""
    return {row.image: row.caption for row in read_table(path) if row.caption is not None}


# Shards


def list_shards(patterns: Sequence[Path], extension: str) -> list[Entry]:
    """Every picture of the shards that the patterns name, in the shards' order."""
    paths = [path for pattern in patterns for path in find_shards(pattern)]
    entries = [entry for path in paths for entry in shard_entries(path, "." + extension.lstrip("."))]
    if not entries:
        raise IPAdapterError(
            f"{', '.join(path.name for path in paths[:MOST_NAMED])} hold no pictures "
            f"({', '.join(sorted(PICTURE_ENDINGS))})."
        )
    return entries


BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
MOST_SHARDS = 100_000


def find_shards(pattern: Path) -> list[Path]:
    """The files of one pattern, with `{000..012}`, `{a,b}` and wildcards. Raises IPAdapterError for one that is not."""
    folder, rest = literal_part(pattern)
    paths = [found for name in expand_braces(rest) for found in matching(folder, name)]
    absent = [path.name for path in paths if not os.path.isfile(path)]  # pathlib raises for long names
    if absent or not paths:
        raise IPAdapterError(
            f"data.shards '{pattern}' names no file: {name_some(absent) or 'nothing fits the wildcard'} is there."
        )
    return paths


def literal_part(pattern: Path) -> tuple[Path, str]:
    """The folders of a pattern that are there under just these names, whatever is in them, and the rest."""
    folder = next((parent for parent in pattern.parents if os.path.isdir(parent)), Path())
    return folder, str(pattern.relative_to(folder))


def matching(folder: Path, name: str) -> list[Path]:
    """The files in a folder that a name with wildcards fits; one that is there under the name itself is meant."""
    path = folder / name
    if os.path.isfile(path) or not glob.has_magic(name):
        return [path]
    return [Path(found) for found in sorted(glob.glob(os.path.join(glob.escape(str(folder)), name)))]


def expand_braces(pattern: str) -> list[str]:
    """`{000..012}` and `{a,b}` as WebDataset has them, the last brace varying fastest."""
    pieces = BRACES.split(pattern)  # text, inside, text, inside …, text
    choices = [brace_choices(piece) if index % 2 else [piece] for index, piece in enumerate(pieces)]
    refuse_many(math.prod(map(len, choices)))
    return ["".join(chosen) for chosen in product(*choices)]


def refuse_many(files: int) -> None:
    """Refuse braces that stand for more files than a data set has."""
    if files > MOST_SHARDS:
        raise IPAdapterError(f"data.shards stands for more than {MOST_SHARDS} files: write smaller ranges.")


def brace_choices(inside: str) -> list[str]:
    """What one pair of braces stands for; numbers keep the leading zeros of the first."""
    numbers = RANGE.fullmatch(inside)
    if numbers is None:
        return inside.split(",")
    first, last = numbers[1], numbers[2]
    refuse_many(int(last) - int(first))
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]


@dataclass(frozen=True)
class Member:
    """A file within a shard: WebDataset's key (all before the first dot of the name) and the rest."""

    key: str
    ending: str
    start: int
    size: int


def shard_entries(path: Path, extension: str) -> list[Entry]:
    """The examples of one shard that have a picture."""
    changed = path.stat().st_mtime_ns
    examples = groupby(shard_members(path), key=lambda member: member.key)
    made = (shard_entry(path, changed, key, list(members), extension) for key, members in examples)
    return [entry for entry in made if entry is not None]


def shard_members(path: Path) -> Iterator[Member]:
    """The files of a tar, in its order. Raises IPAdapterError for one that is damaged or compressed as a whole."""
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.isfile() and not is_stray(info.name):
                    name = PurePosixPath(info.name)
                    stem, _, ending = name.name.partition(".")
                    yield Member(str(name.parent / stem), "." + ending.lower(), info.offset_data, info.size)
            refuse_cut_short(tar, path)
    except (tarfile.TarError, OSError) as error:
        raise IPAdapterError(
            f"'{path.name}' is not a readable tar file ({error}): shards are plain .tar, not compressed; make it again."
        ) from error


def refuse_cut_short(tar: tarfile.TarFile, path: Path) -> None:
    """A tar ends with blocks of zeros; where they lack, so may examples, which the reader itself passes over."""
    if path.stat().st_size < tar.offset + tarfile.BLOCKSIZE:
        raise tarfile.ReadError("cut short")


def shard_entry(path: Path, changed: int, key: str, members: list[Member], extension: str) -> Entry | None:
    """The picture of one example with its caption, or None where there is no picture."""
    picture = next((member for member in members if member.ending in PICTURE_ENDINGS), None)
    text = next((member for member in members if member.ending == extension.lower()), None)
    if picture is None:
        return None
    caption = None if text is None else decode(piece(path, text), f"{path.name}/{key}{extension}").strip()
    return Entry(f"{path.name}/{key}{picture.ending}", caption, path, picture.start, picture.size, changed)


def piece(path: Path, member: Member) -> bytes:
    """The content of one member."""
    with path.open("rb") as file:
        file.seek(member.start)
        return file.read(member.size)
