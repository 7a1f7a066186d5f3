"""One evaluation by several processes, as accelerate starts them: a share of the work each, and all rows in one table.

Each process writes the rows it makes into a part of its own beside the table. What an interrupted run left in parts is
gathered when the next one begins, by however many processes, so no disk needs to be shared between hosts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ...errors import IPAdapterError
from .rows import ResultRow, ResultTable

T = TypeVar("T")
PATIENCE_WITH_OTHERS = timedelta(days=7)  # one process' servers may need far longer than another's


class Crew(Protocol):
    """The processes of a run, as each of them knows them."""

    @property
    def index(self) -> int: ...

    @property
    def count(self) -> int: ...

    def gather(self, own: Sequence[T]) -> list[T]:
        """Everybody's, in everybody's hands. All wait for each other."""

    def device(self, asked: str) -> str:
        """Which of this machine's cards, or the processor, this process measures on."""


@dataclass(frozen=True)
class Alone:
    """One process."""

    index: int = 0
    count: int = 1

    def gather(self, own: Sequence[T]) -> list[T]:
        return list(own)

    def device(self, asked: str) -> str:
        return asked


@dataclass(frozen=True)
class Launched:
    """One of those that `accelerate launch` has started."""

    state: Any  # accelerate's PartialState

    @property
    def index(self) -> int:
        return int(self.state.process_index)

    @property
    def count(self) -> int:
        return int(self.state.num_processes)

    def gather(self, own: Sequence[T]) -> list[T]:
        from accelerate.utils import gather_object

        return list(gather_object(list(own)))

    def device(self, asked: str) -> str:
        return f"{asked}:{self.state.local_process_index}" if asked == "cuda" else asked


def find_crew(device: str) -> Crew:
    """The processes that this one was started with. Raises IPAdapterError where accelerate is missing for them."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Alone()
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise IPAdapterError("several processes need accelerate: pip install accelerate.") from error
    return Launched(PartialState(cpu=not device.startswith("cuda"), timeout=PATIENCE_WITH_OTHERS))


def share_of(work: Sequence[T], crew: Crew) -> list[T]:
    """What one process of the crew does of something that all do together."""
    return list(work[crew.index :: crew.count])


def own_servers(urls: Sequence[str], crew: Crew) -> list[str]:
    """The servers that draw for one process; where there are fewer than processes, they are shared."""
    return share_of(urls, crew) or [urls[crew.index % len(urls)]]


def part_of(table: Path, index: int) -> Path:
    """Where a process keeps its rows: the first in the table itself."""
    return table.with_name(f"{table.name}.part{index}.csv") if index else table


def parts_beside(table: Path) -> list[Path]:
    """Parts that an earlier run has left on this machine."""
    found = table.parent.glob(f"{table.name}.part*.csv") if table.parent.is_dir() else ()
    return sorted(path for path in found if path.name.removeprefix(f"{table.name}.part").removesuffix(".csv").isdigit())


def open_tables(path: Path, more: Sequence[str], settings: Mapping[str, Any], crew: Crew) -> ResultTable:
    """This process' table, which knows every row that any process has made before.

    Raises IPAdapterError where an earlier run had other settings.
    """
    left = [ResultTable(part, more) for part in parts_beside(path)]
    first = [ResultTable(path, more)] if crew.index == 0 else []
    for table in (*left, *first):
        table.open(settings)
    known = crew.gather([row for table in (*first, *left) for row in table.rows])
    if crew.index == 0:
        add_missing(first[0], known)
    crew.gather([])  # nobody removes a part before its rows are in the table
    for table in left:
        table.discard()
    crew.gather([])
    mine = first[0] if first else ResultTable(part_of(path, crew.index), more)
    if not first:
        mine.open(settings)
        mine.known = {row.key: row for row in known}
    return mine


def add_missing(table: ResultTable, rows: Sequence[ResultRow]) -> None:
    """Rows of other processes that the table does not have."""
    done = set(table.done)
    for row in rows:
        if row.key not in done:
            table.add(row)
            done.add(row.key)


def merge(table: ResultTable, crew: Crew) -> None:
    """Everybody's rows into the first process' table, when all are done; the others' parts go."""
    made = crew.gather(table.rows)
    if crew.index == 0:
        add_missing(table, made)
    crew.gather([])
    if crew.index:
        table.discard()
