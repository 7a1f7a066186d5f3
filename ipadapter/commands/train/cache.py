"""What the frozen encoders make of a training set, kept on disk.

A cache is a folder named by a fingerprint of all it depends on (pictures, captions, models, settings), so one that is
out of date is never found. It holds chunks of some hundred examples as safetensors files, each written whole or not at
all, so that a run that was killed goes on with the first chunk that is missing. Contexts of the texts are stored once
for each different text. Chunks are read by memory map.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...errors import IPAdapterError
from ...files.replacing import write_whole
from ...files.tensors import Tensors

READ_ROWS = ("face", "features")  # what a projection reads of a picture; one that reads one thing has the last alone
CACHE_FORMAT = "1"  # changes with the layout below, so that a cache of an older one is made anew


def cache_fingerprint(parts: Iterable[Any]) -> str:
    """A name for everything a cache depends on."""
    digest = hashlib.sha256(CACHE_FORMAT.encode())
    for part in parts:
        digest.update(b"\0" + repr(part).encode())
    return digest.hexdigest()[:20]


def file_stamp(path: Path) -> tuple[str, int, int]:
    """Tells a model file from another, and from an earlier one of the same name: name, bytes, time of change."""
    try:
        about = path.stat()
    except OSError as error:
        raise IPAdapterError(f"'{path}' cannot be read: {error.strerror}.") from error
    return path.name, about.st_size, about.st_mtime_ns


@dataclass(frozen=True)
class Chunk:
    """One file of a cache: some rows, and notes on what became of them."""

    path: Path

    @property
    def exists(self) -> bool:
        """Whether it is complete; an incomplete one never has this name."""
        return self.path.is_file()

    def write(self, tensors: Tensors, notes: dict[str, str]) -> None:
        """Raises IPAdapterError where the disk does not take it."""
        write_whole(self.path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, notes))

    def open(self) -> Any:
        """The mapped file. Raises IPAdapterError where something other than this program has changed it."""
        try:
            return safe_open(self.path, "pt")
        except (OSError, SafetensorError) as error:
            raise IPAdapterError(
                f"'{self.path}' of the cache cannot be read ({error}): delete it, and it is made again."
            ) from error


def count_rows(file: Any) -> int:
    """Rows of a mapped chunk."""
    name = next((name for name in file.keys() if "." not in name), None)  # noqa: SIM118 (no dict)
    return 0 if name is None else file.get_slice(name).get_shape()[0]


def row_name(name: str, row: int) -> str:
    """What a row's tensor is called in a chunk whose rows are of several sizes."""
    return f"{name}.{row}"


@dataclass(frozen=True)
class CachedRows:
    """The rows of several chunks, one after the other. Chunks without any are left out."""

    files: tuple[Any, ...]  # mapped; no file stays open
    starts: tuple[int, ...]  # of each chunk's first row, and at last the number of rows

    @classmethod
    def of(cls, chunks: Iterable[Chunk]) -> CachedRows:
        """Of complete chunks."""
        files = tuple(file for file in (chunk.open() for chunk in chunks) if count_rows(file))
        return cls(files, tuple(accumulate(map(count_rows, files), initial=0)))

    def __len__(self) -> int:
        return self.starts[-1]

    def get(self, name: str, indices: Sequence[int]) -> Tensor:
        """These rows of one tensor."""
        return torch.stack([self.row(name, index) for index in indices])

    def row(self, name: str, index: int) -> Tensor:
        """One row."""
        number = bisect_right(self.starts, index) - 1
        file, row = self.files[number], index - self.starts[number]
        apart = row_name(name, row)
        out: Tensor = file.get_tensor(apart) if apart in file.keys() else file.get_slice(name)[row]  # noqa: SIM118
        return out

    def has(self, name: str) -> bool:
        """Whether the rows have such a tensor."""
        return bool(self.files) and not {name, row_name(name, 0)}.isdisjoint(self.files[0].keys())

    def whole(self, name: str) -> Tensor:
        """A tensor of all rows."""
        return torch.cat([file.get_tensor(name) for file in self.files])


@dataclass(frozen=True)
class Cache:
    """The folder of one cache."""

    folder: Path

    def pictures(self, number: int) -> Chunk:
        """Latents, features, sizes, and which text belongs to each picture."""
        return Chunk(self.folder / f"pictures-{number:05d}.safetensors")

    def texts(self, number: int) -> Chunk:
        """Contexts and pooled embeddings of different texts, the empty one first."""
        return Chunk(self.folder / f"texts-{number:05d}.safetensors")

    @property
    def nothing(self) -> Chunk:
        """What the image encoder makes of no picture."""
        return Chunk(self.folder / "no-picture.safetensors")
