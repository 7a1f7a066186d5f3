"""Lists as a person types them: entries with something between them, which are weights or `place: weight`."""

from __future__ import annotations

import math
import re

from .errors import IPAdapterError
from .numbers import WEIGHT

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"  # as it stands within an entry


def entries(text: str, between: str) -> list[str]:
    """What stands between some characters, given as within the brackets of a regular expression; none is empty."""
    return [entry.strip() for entry in re.split(f"[{between}]", text) if entry.strip()]


def weighed(place: str) -> re.Pattern[str]:
    """A pattern for the entry `place: weight`, or with = between; the weight is its last group."""
    return re.compile(rf"^{place}\s*[:=]\s*({NUMBER})$")


def read_weight(entry: str, named: str, wrong: str) -> float:
    """A weight alone. `named` names it, `wrong` goes on where it is no number: both begin a sentence.

    Raises IPAdapterError for what is no number, and for one that is out of range.
    """
    try:
        weight = float(entry)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise IPAdapterError(f"{named}{wrong}")
    if not WEIGHT.holds(weight):
        raise IPAdapterError(f"{named}: {WEIGHT} is needed.")
    return weight
