"""The figures as Markdown tables, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum

from tools.bench.timing import Interval

Figure = float | Interval


class Unit(Enum):
    """What a figure counts."""

    COUNT = "count"
    PER_LAYER = "a layer"
    GFLOP = "GFLOP"
    PERCENT = "percent"
    SECONDS = "s"
    RATIO = "ratio"
    BYTES = "bytes"


def megabytes(number: float) -> str:
    return f"{number / 1e6:.1f} MB"


NUMBERS: dict[Unit, Callable[[float], str]] = {
    Unit.COUNT: "{:.0f}".format,
    Unit.PER_LAYER: "{:.2f}".format,
    Unit.GFLOP: "{:.0f} GFLOP".format,
    Unit.PERCENT: "{:.3f} %".format,
    Unit.SECONDS: "{:.2f} s".format,
    Unit.RATIO: "{:.3f}".format,
    Unit.BYTES: megabytes,
}


@dataclass(frozen=True)
class Cell:
    """One figure in its unit."""

    figure: Figure
    unit: Unit

    def __str__(self) -> str:
        show = NUMBERS[self.unit]
        if isinstance(self.figure, Interval):
            return f"{show(self.figure.middle)} ({show(self.figure.low)} … {show(self.figure.high)})"
        return show(self.figure)


def shown(cell: Cell | None) -> str:
    return "" if cell is None else str(cell)


@dataclass(frozen=True)
class Row:
    """One measurement: of what the others are compared with, and of each of them, where they have one."""

    subject: str
    measure: str
    reference: Cell | None
    others: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """Measurements of the same contestants."""

    reference: str
    others: tuple[str, ...]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        """A column for what is compared with, and one for each of the others."""
        titles = ["", "", self.reference, *self.others]
        lines = [titles, ["---", "---", *["--:"] * (len(titles) - 2)]]
        lines += [[row.subject, row.measure, *map(shown, (row.reference, *row.others))] for row in self.rows]
        return "\n".join(map(line, lines))


@dataclass(frozen=True)
class Setting:
    """Where and with what the figures were measured."""

    device: str
    threads: int
    torch: str
    comfyui: str

    def __str__(self) -> str:
        return f"{self.device}, threads: {self.threads}, torch {self.torch}, ComfyUI {self.comfyui}"


@dataclass(frozen=True)
class Report:
    """All figures of one run."""

    setting: Setting
    tables: tuple[Table, ...]


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def to_json(report: Report) -> str:
    """The same figures, unrounded."""
    return json.dumps(asdict(report), indent=2, default=lambda unit: unit.value) + "\n"
