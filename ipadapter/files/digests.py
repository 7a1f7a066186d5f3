"""Telling what a file holds from what another of its name held."""

from __future__ import annotations

import hashlib
from pathlib import Path

READ_AT_ONCE = 2**20  # bytes


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits. Raises OSError."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_AT_ONCE):
            made.update(block)
    return made.hexdigest()
