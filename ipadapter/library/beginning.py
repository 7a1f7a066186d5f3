"""Which adapter a fresh loader names: one for most graphs, not one for faces; and what to get where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from ..adapters.families.base import BASE
from ..adapters.families.plus import PLUS
from ..encoders.published import VIT_H
from .published import ADAPTER_FOLDER, ADAPTERS, ENCODER_FOLDER

TO_GET = BASE.published[0]
NONE_YET = f"none yet - get {TO_GET.name}"  # what the menu of an empty folder says
FOR_FACES = ("face", "portrait", "instantid")  # words of files that need more than a picture
IN_ORDER = tuple(one.name.lower() for family in (BASE, PLUS) for one in ADAPTERS if one.family is family)


def menu(names: Sequence[str]) -> list[str]:
    """What a menu of adapters offers."""
    return [*names] or [NONE_YET]


def usual(names: Sequence[str]) -> str | None:
    """The file to begin with; None where there is none."""
    return min(names, key=strangeness, default=None)


def strangeness(name: str) -> tuple[int, int]:
    """How far a file is from the usual one, by its name: published for pictures, any other, for faces."""
    bare = PurePath(name).name.lower()
    if any(word in name.lower() for word in FOR_FACES):
        return 2, 0
    return (0, IN_ORDER.index(bare)) if bare in IN_ORDER else (1, 0)


def what_to_get() -> str:
    """Advice for an empty folder: the usual adapter for SD1.5 and its encoder."""
    return (
        f"put {TO_GET.name} into {ADAPTER_FOLDER}, from {TO_GET.address}, and {VIT_H.name} into {ENCODER_FOLDER}, "
        f"from {VIT_H.address}, then press R."
    )
