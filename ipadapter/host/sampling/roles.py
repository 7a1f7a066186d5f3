"""Which rows of a model call get the image and which the unconditional.

Decided by what a conditioning is, not by where it stands: the host gives every conditioning a uuid, names the rows of
each call by it, and the sampler's guider knows each by a name ("positive", "negative", "middle", ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from torch import Tensor

from ...attention.masks import Cut
from ...attention.packing import ABSENT, NEGATIVE, POSITIVE
from ...errors import IPAdapterError
from ...images.masks import Size

COND_KEY = "ip_adapter"  # where a conditioning carries the names of the image prompts bound to it
UNCONDITIONAL_NAMES = re.compile("neg|uncond|empty")

Cond = dict[str, Any]
Conds = dict[str, list[Cond] | None]


@dataclass(frozen=True)
class Group:
    """One conditioning's rows of a call: its role, the image prompts bound to it, the part of the picture it sees."""

    role: int
    carries: tuple[str, ...] = ()
    cut: Cut | None = None

    def role_for(self, bound: str | None) -> int:
        """The role towards an image prompt that is bound to some conditionings, or to none in particular."""
        return self.role if bound is None or bound in self.carries else ABSENT


@dataclass(frozen=True)
class GroupText:
    """A group of rows with its text (n, T, C); None where only the node that made it knows."""

    group: Group
    text: Tensor | None


def role_of(name: str, cond: Cond) -> int:
    """A conditioning's own `prompt_type` counts before the guider's name for it."""
    return NEGATIVE if UNCONDITIONAL_NAMES.search(str(cond.get("prompt_type", name))) else POSITIVE


def cut_of(cond: Cond, latent: Size) -> Cut | None:
    """The rectangle of the latent picture that a conditioning with an area sees, as the host clips it.

    Raises IPAdapterError where nothing is left of it, at which the host fails in its first convolution.
    """
    area = cond.get("area")
    if area is None:
        return None
    half = len(area) // 2
    (height, width), (top, left) = area[half - 2 : half], area[-2:]
    if top >= latent[0] or left >= latent[1]:
        raise IPAdapterError(
            f"the area of a conditioning begins at latent row {top}, column {left}, beyond a picture of {latent[0]} × "
            f"{latent[1]}: move it into the picture."
        )
    return Cut.box(top, left, min(height, latent[0] - top), min(width, latent[1] - left))


@dataclass(frozen=True)
class Roles:
    """Every conditioning of one run, by uuid.

    One the guider does not know was made by a guidance node as its "no prompt", and counts as unconditional.
    """

    by_uuid: dict[UUID, Group]
    texts: dict[UUID, Tensor]  # (n, T, C) each, as the model is given them

    @staticmethod
    def of(conds: Conds, latent: Size) -> Roles:
        """From a guider's conditionings, which the host has repeated where another of its lists has an area.

        A copy stands in one list under the uuid of an original in another: here it gets one of its own.
        """
        found: dict[UUID, Group] = {}
        for one in sorted(listed_conds(conds), key=lambda one: one.is_copy):
            group, uuid = one.group(latent), one.cond["uuid"]
            if found.setdefault(uuid, group) != group:
                found[one.rename()] = group
        return Roles(found, {one.cond["uuid"]: one.text for one in listed_conds(conds) if one.text is not None})

    def groups(self, uuids: Iterable[UUID]) -> tuple[Group, ...]:
        """The row groups of a call."""
        return tuple(self.by_uuid.get(uuid, Group(NEGATIVE)) for uuid in uuids)

    def with_texts(self, uuids: Sequence[UUID]) -> list[GroupText]:
        """The same, each with its text."""
        return [GroupText(group, self.texts.get(uuid)) for group, uuid in zip(self.groups(uuids), uuids, strict=True)]


@dataclass(frozen=True)
class Listed:
    """A conditioning where it stands: in a list that the guider knows by a name."""

    name: str
    conds: list[Cond]
    index: int

    @property
    def cond(self) -> Cond:
        return self.conds[self.index]

    @property
    def text(self) -> Tensor | None:
        """What the model's cross-attention reads of it, where it is a text's."""
        given = self.cond.get("model_conds", {}).get("c_crossattn")
        return getattr(given, "cond", None)

    @property
    def source(self) -> Cond:
        """The first of the list that says the same: the one itself, or the one whose text the host gave a copy."""
        return next(one for one in self.conds if says_the_same(one, self.cond))

    @property
    def is_copy(self) -> bool:
        """Whether the host made it from the area of one conditioning and the text of another."""
        return self.source is not self.cond

    def group(self, latent: Size) -> Group:
        """What its rows are. The list and the text decide the role: a copy's `prompt_type` is the other list's.

        Where a copy is to follow images it follows its text's; as an unconditional it faces those of its area.
        """
        role = role_of(self.name, self.source)
        carrier = self.source if role == POSITIVE else self.cond
        return Group(role, tuple(carrier.get(COND_KEY, ())), cut_of(self.cond, latent))

    def rename(self) -> UUID:
        """Put one with a new uuid in its place."""
        self.conds[self.index] = self.cond | {"uuid": uuid4()}
        uuid: UUID = self.cond["uuid"]
        return uuid


def listed_conds(conds: Conds) -> list[Listed]:
    """Every conditioning that has a uuid."""
    return [
        Listed(name, group, index)
        for name, group in conds.items()
        if group
        for index, cond in enumerate(group)
        if "uuid" in cond
    ]


def says_the_same(one: Cond, other: Cond) -> bool:
    """Whether two conditionings hand the model the same objects."""
    given, same = one.get("model_conds", {}), other.get("model_conds", {})
    return given.keys() == same.keys() and all(given[key] is same[key] for key in given)


def groups_by_position(cond_or_uncond: Iterable[int]) -> tuple[Group, ...]:
    """Groups of a call made outside any run: the host's 0 is the conditional, everything else is not."""
    return tuple(Group(NEGATIVE if index else POSITIVE) for index in cond_or_uncond)
