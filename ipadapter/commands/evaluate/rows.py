"""The results as they come: one row a picture, appended and flushed, so that a killed run loses the one in work.

A table ending in .parquet is kept as CSV beside it while the run lasts, and written at its end.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ...errors import IPAdapterError
from ...files.replacing import replacing, write_whole
from .drawer import compared_by, setting_in_words

PARQUET = ".parquet"
PYARROW = "pyarrow is not installed: run `pip install pyarrow`, or choose a file that ends in .csv."


Key = tuple[str, str, str, int]  # a method, an image prompt's file name and content, and a seed


@dataclass(frozen=True)
class ResultRow:
    """One picture. `clip_t` is a cosine and `clip_score` 2.5 · max(cos, 0), means over captions; None without.

    `content` tells the image prompt's picture and captions from others under the same file name. `method` says which of
    several methods drew it, and `more` what other judges say, by metric.
    """

    image: str
    seed: int
    clip_i: float
    clip_t: float | None
    clip_score: float | None
    captions: int
    seconds: float
    content: str
    method: str = ""
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.method, self.image, self.content, self.seed

    def value(self, metric: str) -> float | None:
        """Its number by a metric, or None."""
        return self.more.get(metric, getattr(self, metric, None))

    @property
    def flat(self) -> dict[str, Any]:
        """By column, those of `more` among them."""
        made = asdict(self)
        return {**made, **made.pop("more")}


METHOD = "method"
RESULT_COLUMNS = [one.name for one in fields(ResultRow) if one.name not in (METHOD, "more")]


def read_row(values: Mapping[str, str]) -> ResultRow:
    """A row of the file by column. Raises ValueError for one that is not whole."""
    known = {*RESULT_COLUMNS, METHOD}
    if not values["content"]:
        raise ValueError("a row that says nothing of its image prompt")
    return ResultRow(
        values["image"],
        int(values["seed"]),
        float(values["clip_i"]),
        number_or_none(values["clip_t"]),
        number_or_none(values["clip_score"]),
        int(values["captions"]),
        float(values["seconds"]),
        values["content"],
        values.get(METHOD, ""),
        {key: float(value) for key, value in values.items() if key not in known and value},
    )


def number_or_none(text: str) -> float | None:
    """A number, or nothing."""
    return float(text) if text else None


def as_line(values: Sequence[object]) -> str:
    """One line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def as_file(rows: Sequence[ResultRow], columns: Sequence[str]) -> bytes:
    """A whole table."""
    return "".join([as_line(columns), *(as_line(values_of(row, columns)) for row in rows)]).encode()


class ResultTable:
    """The rows of one evaluation, on disk; `more` are its columns beside those of every table."""

    def __init__(self, path: Path, more: Sequence[str] = ()) -> None:
        self.path = path
        self.columns = [*RESULT_COLUMNS, *more]
        self.journal = path.with_name(path.name + ".csv") if path.suffix == PARQUET else path
        self.settings_file = path.with_name(path.name + ".settings.json")
        self.rows: list[ResultRow] = []
        self.known: dict[Key, ResultRow] = {}  # of other processes' tables

    @property
    def done(self) -> dict[Key, ResultRow]:
        """Rows by what they are of."""
        return {**self.known, **{row.key: row for row in self.rows}}

    def prepare(self) -> None:
        """Make room for it before anything long begins. Raises IPAdapterError without pyarrow, or OSError."""
        if self.path.suffix == PARQUET:
            import_pyarrow()
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def open(self, settings: Mapping[str, Any]) -> None:
        """Begin, or go on where an earlier run with the same settings stopped.

        Raises IPAdapterError where the settings differ, naming each, or a table is not one of these.
        """
        if not self.journal.exists() and not self.path.exists():
            write_whole(self.settings_file, json.dumps(settings, indent=1).encode())
            write_whole(self.journal, as_line(self.columns).encode())
            return
        refuse_other_settings(self.settings_file, self.path.name, settings)
        if self.journal.exists():
            self.rows = repair(self.journal, self.columns)
        else:
            self.rows = read_parquet(self.path)
            write_whole(self.journal, as_file(self.rows, self.columns))

    def add(self, row: ResultRow) -> None:
        """Append one row, on the disk when this returns. Raises IPAdapterError where the disk takes no more."""
        try:
            with self.journal.open("ab") as file:
                file.write(as_line(values_of(row, self.columns)).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise IPAdapterError(
                f"'{self.journal}' cannot be written: {error.strerror}; the rows before are safe, run the same "
                "command again when there is room."
            ) from error
        self.rows.append(row)

    def arrange(self, asked: Sequence[Key]) -> None:
        """Put the rows that were asked for in the order in which they were, where several drew them at a time."""
        done, among = self.done, set(asked)
        places = [index for index, row in enumerate(self.rows) if row.key in among]
        arranged = list(self.rows)
        for place, key in zip(places, [key for key in asked if key in done], strict=True):
            arranged[place] = done[key]
        if arranged != self.rows:
            self.rows = arranged
            write_whole(self.journal, as_file(arranged, self.columns))

    def close(self) -> None:
        """Write the Parquet file where one is wanted."""
        if self.path.suffix == PARQUET:
            write_parquet(self.path, self.rows, self.columns)
            self.journal.unlink()

    def discard(self) -> None:
        """Remove it, its rows being elsewhere."""
        for file in (self.journal, self.settings_file):
            file.unlink(missing_ok=True)


def values_of(row: ResultRow, columns: Sequence[str]) -> list[object]:
    """A row's values as CSV has them: nothing for None."""
    values = row.flat
    return ["" if (value := values.get(column)) is None else value for column in columns]


def refuse_other_settings(file: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Refuse to mix two evaluations in one table."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IPAdapterError(
            f"'{name}' is there, but '{file.name}' that says how it was made is not: choose another file."
        ) from error
    now = json.loads(json.dumps(settings))
    differing = [key for key in sorted({*before, *now}) if compared_by(before.get(key)) != compared_by(now.get(key))]
    named = [key for key in differing if key != "graph"] or differing  # the graph differs with everything in it
    if named:
        said = "; ".join(
            f"{key} {setting_in_words(before.get(key))}, now {setting_in_words(now.get(key))}" for key in named
        )
        raise IPAdapterError(f"'{name}' was begun with {said}: choose another file, or the same settings.")


def repair(path: Path, columns: Sequence[str] = tuple(RESULT_COLUMNS)) -> list[ResultRow]:
    """Rows of a CSV file, without a last one that was cut short, which is removed from the file too."""
    data = path.read_bytes()
    lines = [line.decode("utf-8", errors="replace") for line in data.split(b"\n")[:-1]]  # all that are ended
    if not lines or lines[0] != as_line(columns).strip():
        raise IPAdapterError(f"'{path.name}' is not a table of an evaluation: choose another file.")
    parsed = [parse_row(line, columns) for line in lines[1:]]
    damaged = next((number for number, row in enumerate(parsed[:-1], 2) if row is None), None)
    if damaged:
        raise IPAdapterError(f"'{path.name}' is damaged in line {damaged}: remove that line, or begin anew.")
    rows = [row for row in parsed if row]
    if (kept := as_file(rows, columns)) != data:
        write_whole(path, kept)
    return rows


def parse_row(line: str, columns: Sequence[str]) -> ResultRow | None:
    """One line's row; None for a line that is broken."""
    try:
        return read_row(dict(zip(columns, next(csv.reader([line])), strict=True)))
    except (ValueError, StopIteration, csv.Error):
        return None


def import_pyarrow() -> Any:
    """pyarrow's Parquet module. Raises IPAdapterError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise IPAdapterError(PYARROW) from error
    return pyarrow


def write_parquet(path: Path, rows: Sequence[ResultRow], columns: Sequence[str]) -> None:
    """All rows at once."""
    pyarrow, flat = import_pyarrow(), [row.flat for row in rows]
    by_column = {column: [values.get(column) for values in flat] for column in columns}
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pydict(by_column), temporary)


def read_parquet(path: Path) -> list[ResultRow]:
    """Rows of a finished table."""
    try:
        return [from_flat(row) for row in import_pyarrow().parquet.read_table(path).to_pylist()]
    except (TypeError, OSError, ValueError) as error:
        raise IPAdapterError(f"'{path.name}' is not a table of an evaluation: choose another file.") from error


def from_flat(values: Mapping[str, Any]) -> ResultRow:
    """A row by column, as `flat` gives it."""
    own = {key: value for key, value in values.items() if key in (*RESULT_COLUMNS, METHOD)}
    more = {key: value for key, value in values.items() if key not in own and value is not None}
    return ResultRow(**own, more=more)
