"""Which files are pictures, by their names."""

from __future__ import annotations

from pathlib import PurePath

from .captions import is_stray

PICTURE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def is_picture(path: PurePath) -> bool:
    """Whether a name is one of a picture that somebody put there."""
    return path.suffix.lower() in PICTURE_ENDINGS and not is_stray(path.as_posix())
