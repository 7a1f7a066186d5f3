"""Which rows of a model call get the image and which the unconditional.

Decided by what a conditioning is, not by where it stands: the host gives every conditioning a uuid, names the rows of
each call by it, and the sampler's guider knows each by a name ("positive", "negative", "middle", ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ..masks import Cut, Size
from ..packing import ABSENT, NEGATIVE, POSITIVE

COND_KEY = "ip_adapter"  # where a conditioning carries the names of the image prompts bound to it
UNCONDITIONAL_NAMES = re.compile("neg|uncond|empty")

Conds = dict[str, list[dict[str, Any]] | None]


@dataclass(frozen=True)
class Group:
    """One conditioning's rows of a call: its role, the image prompts bound to it, the part of the picture it sees."""

    role: int
    carries: tuple[str, ...] = ()
    cut: Cut | None = None

    def role_for(self, bound: str | None) -> int:
        """The role towards an image prompt that is bound to some conditionings, or to none in particular."""
        return self.role if bound is None or bound in self.carries else ABSENT


def role_of(name: str, cond: dict[str, Any]) -> int:
    """A conditioning's own `prompt_type` counts before the guider's name for it."""
    return NEGATIVE if UNCONDITIONAL_NAMES.search(str(cond.get("prompt_type", name))) else POSITIVE


def cut_of(cond: dict[str, Any], latent: Size) -> Cut | None:
    """The rectangle of the latent picture that a conditioning with an area sees, as the host clips it."""
    area = cond.get("area")
    if area is None:
        return None
    half = len(area) // 2
    (height, width), (top, left) = area[half - 2 : half], area[-2:]
    return Cut.box(top, left, min(height, latent[0] - top), min(width, latent[1] - left))


@dataclass(frozen=True)
class Roles:
    """Every conditioning of one run, by uuid.

    One the guider does not know was made by a guidance node as its "no prompt", and counts as unconditional. The host
    repeats a conditioning with an area on the other side, under the same uuid; which of the two a row is its place
    tells.
    """

    by_uuid: dict[UUID, tuple[Group, ...]]

    @staticmethod
    def of(conds: Conds, latent: Size) -> Roles:
        """From a guider's conditionings."""
        found: dict[UUID, tuple[Group, ...]] = {}
        for name, cond in named(conds):
            group = Group(role_of(name, cond), tuple(cond.get(COND_KEY, ())), cut_of(cond, latent))
            found[cond["uuid"]] = tuple(dict.fromkeys((*found.get(cond["uuid"], ()), group)))
        return Roles(found)

    def groups(self, uuids: Sequence[UUID], cond_or_uncond: Sequence[int]) -> tuple[Group, ...]:
        """The row groups of a call."""
        return tuple(self.group(uuid, place) for uuid, place in zip(uuids, cond_or_uncond, strict=True))

    def group(self, uuid: UUID, place: int) -> Group:
        """One of them."""
        known = self.by_uuid.get(uuid, (Group(NEGATIVE),))
        if len(known) == 1:
            return known[0]
        role = NEGATIVE if place else POSITIVE
        return next((group for group in known if group.role == role), known[0])


def named(conds: Conds) -> list[tuple[str, dict[str, Any]]]:
    """Every conditioning that has a uuid, with the guider's name for it."""
    return [(name, cond) for name, group in conds.items() for cond in group or () if "uuid" in cond]


def groups_by_position(cond_or_uncond: Iterable[int]) -> tuple[Group, ...]:
    """Groups of a call made outside any run: the host's 0 is the conditional, everything else is not."""
    return tuple(Group(NEGATIVE if index else POSITIVE) for index in cond_or_uncond)
