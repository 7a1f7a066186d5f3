"""What a claim is measured on, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor

from ipadapter.files.replacing import write_whole

from ..world import ATTRIBUTES, Scene
from . import studio
from .studio import agreement


@dataclass(frozen=True)
class Extent:
    """How much of a claim is measured: held-out references, and pictures of each under each condition."""

    references: int = 32
    seeds: int = 4


WHOLE = Extent()


@dataclass
class Row:
    """One measure under one condition. `groups` names the reference of each value."""

    condition: str
    measure: str
    values: list[float] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    chance: float | None = None


@dataclass
class Table:
    """Rows of a claim, and a few pictures to look at: (row label, column label) to (64, 64, 3)."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    pictures: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def add(self, condition: str, measure: str, values: list[float], group: int, chance: float | None = None) -> None:
        """Values of one reference."""
        row = self.rows.setdefault((condition, measure), Row(condition, measure, chance=chance))
        row.values += values
        row.groups += [group] * len(values)

    def take(self, rows: Iterable[Row]) -> None:
        """Rows that were measured before."""
        self.rows |= {(row.condition, row.measure): row for row in rows}

    def add_agreement(self, condition: str, pictures: Tensor, scene: Scene, names: tuple[str, ...], group: int) -> None:
        """Whether attributes are a scene's."""
        for name, values in agreement(pictures, studio.values_of(scene, names)).items():
            self.add(condition, name, values, group, 1 / len(ATTRIBUTES[name]))

    def show(self, row: str, column: str, picture: Tensor, limit: int = 4) -> None:
        """Keep a picture for the page, of the first few rows."""
        if row in {r for r, _ in self.pictures} or len({r for r, _ in self.pictures}) < limit:
            self.pictures[(row, column)] = picture


def save_rows(path: Path, table: Table) -> None:
    """Keep a table's numbers."""
    rows = [asdict(row) for row in table.rows.values()]
    write_whole(path, (json.dumps(rows, ensure_ascii=False) + "\n").encode())


def load_rows(path: Path) -> Table:
    """A table's numbers as they were kept."""
    rows = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    return Table({(row.condition, row.measure): row for row in rows})
