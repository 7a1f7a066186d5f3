"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import IPAdapterError
from ..progress import Progress, no_progress

PIECE = 2**26  # bytes written at once
PART_ENDING = ".part"  # the ending of a file that is not complete


def write_whole(path: Path, content: bytes, progress: Progress = no_progress) -> Path:
    """Write a file that is either all there or not at all, telling the bytes that are written.

    Raises IPAdapterError where the disk does not take it.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        for start in range(0, len(content), PIECE):
            file.write(memoryview(content)[start : start + PIECE])
            progress(min(start + PIECE, len(content)), len(content))
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `path`, in a folder that is made for it where it is not there.

    Raises IPAdapterError where the disk does not take it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with standing_in(path) as temporary:
            yield temporary
    except OSError as error:
        raise IPAdapterError(
            f"'{path}' could not be written: {error.strerror or error}; what was there before is unchanged. Make room, "
            "or choose another place."
        ) from error


@contextlib.contextmanager
def standing_in(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place once it is complete and on the disk. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART_ENDING}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it has taken its place, or could not be made
            temporary.unlink()


def clear_parts(folder: Path, seconds: float = 0.0) -> None:
    """Remove what processes that were killed have left of files they were writing here, at least so long ago."""
    for part in folder.glob(f".*{PART_ENDING}"):
        with contextlib.suppress(OSError):  # its writer is done with it
            if time.time() - part.stat().st_mtime >= seconds:
                part.unlink()
