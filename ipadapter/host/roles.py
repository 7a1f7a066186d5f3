"""Which rows of a model call get the image and which the unconditional.

Decided by what a conditioning is, not by where it stands: the host gives every conditioning a uuid, names the rows of
each call by it, and the sampler's guider knows each by a name ("positive", "negative", "middle", ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

POSITIVE, NEGATIVE = 0, 1  # rows of stored K' and V'
UNCONDITIONAL_NAMES = re.compile("neg|uncond|empty")

Conds = dict[str, list[dict[str, Any]] | None]


def role_of(name: str, cond: dict[str, Any]) -> int:
    """A conditioning's own `prompt_type` counts before the guider's name for it."""
    return NEGATIVE if UNCONDITIONAL_NAMES.search(str(cond.get("prompt_type", name))) else POSITIVE


@dataclass(frozen=True)
class Roles:
    """The role of every conditioning of one run, by uuid. One the guider does not know was made by a guidance node
    as its "no prompt", and counts as unconditional."""

    by_uuid: dict[UUID, int]

    @staticmethod
    def of(conds: Conds) -> Roles:
        """From a guider's conditionings."""
        return Roles(
            {
                cond["uuid"]: role_of(name, cond)
                for name, group in conds.items()
                for cond in group or ()
                if "uuid" in cond
            }
        )

    def rows(self, uuids: Iterable[UUID]) -> tuple[int, ...]:
        """The role of each row group of a call."""
        return tuple(self.by_uuid.get(uuid, NEGATIVE) for uuid in uuids)


def rows_by_position(cond_or_uncond: Iterable[int]) -> tuple[int, ...]:
    """Roles of a call made outside any run: the host's 0 is the conditional, everything else is not."""
    return tuple(NEGATIVE if index else POSITIVE for index in cond_or_uncond)
