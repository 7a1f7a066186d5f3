"""Stand-ins that are missing are made."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ipadapter.host.launch import start_host
from tools.environment import LAYOUT

from .formats import is_there, write
from .listed import SETS, StandIn
from .noise import Noise


@dataclass(frozen=True)
class Made:
    """What was just written."""

    path: Path
    size: int  # bytes
    seconds: float


def missing(stand_ins: Iterable[StandIn], models: Path) -> list[StandIn]:
    return [one for one in stand_ins if not is_there(models / one.path)]


def make(stand_ins: Iterable[StandIn], models: Path, host: Path) -> Iterator[Made]:
    """Write those that are missing below `models`, one at a time; yields each as it is done."""
    wanted = missing(stand_ins, models)
    if wanted:
        start_host(("--cpu",), host)
    for one in wanted:
        started = time.perf_counter()
        write(models / one.path, one.make(Noise.seeded(one.seed)))
        yield Made(models / one.path, (models / one.path).stat().st_size, time.perf_counter() - started)


def make_set(name: str) -> None:
    """Make a set of SETS in this checkout, telling about each file."""
    for made in make(SETS[name], LAYOUT.models, LAYOUT.host):
        place = made.path.relative_to(LAYOUT.models)
        print(f"  {place}  {made.size / 1e6:,.0f} MB of random weights in {made.seconds:.1f} s", flush=True)
