"""The results as they come: one row a picture, appended and flushed, so that a killed run loses the one in work.

A table ending in .parquet is kept as CSV beside it while the run lasts, and written at its end.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...errors import IPAdapterError
from ...files.replacing import replacing, write_whole
from .drawer import compared_by, setting_in_words

PARQUET = ".parquet"
PYARROW = "pyarrow is not installed: run `pip install pyarrow`, or choose a file that ends in .csv."


Key = tuple[str, str, int]  # an image prompt's file name and content, and a seed


@dataclass(frozen=True)
class ResultRow:
    """One picture. `clip_t` is a cosine and `clip_score` 2.5 · max(cos, 0), means over captions; None without.

    `content` tells the image prompt's picture and captions from others under the same file name.
    """

    image: str
    seed: int
    clip_i: float
    clip_t: float | None
    clip_score: float | None
    captions: int
    seconds: float
    content: str

    @property
    def key(self) -> Key:
        return self.image, self.content, self.seed


RESULT_COLUMNS = [field.name for field in fields(ResultRow)]


def read_row(values: Sequence[str]) -> ResultRow:
    """A row of the file. Raises ValueError for one that is not whole."""
    image, seed, clip_i, clip_t, clip_score, captions, seconds, content = values
    if not content:
        raise ValueError("a row that says nothing of its image prompt")
    scores = (float(clip_i), number_or_none(clip_t), number_or_none(clip_score))
    return ResultRow(image, int(seed), *scores, int(captions), float(seconds), content)


def number_or_none(text: str) -> float | None:
    """A number, or nothing."""
    return float(text) if text else None


def as_line(values: Sequence[object]) -> str:
    """One line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def as_file(rows: Sequence[ResultRow]) -> bytes:
    """A whole table."""
    return "".join([as_line(RESULT_COLUMNS), *(as_line(values_of(row)) for row in rows)]).encode()


class ResultTable:
    """The rows of one evaluation, on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path.with_name(path.name + ".csv") if path.suffix == PARQUET else path
        self.settings_file = path.with_name(path.name + ".settings.json")
        self.rows: list[ResultRow] = []

    @property
    def done(self) -> dict[Key, ResultRow]:
        """Rows by what they are of."""
        return {row.key: row for row in self.rows}

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
            write_whole(self.journal, as_line(RESULT_COLUMNS).encode())
            return
        refuse_other_settings(self.settings_file, self.path.name, settings)
        if self.journal.exists():
            self.rows = repair(self.journal)
        else:
            self.rows = read_parquet(self.path)
            write_whole(self.journal, as_file(self.rows))

    def add(self, row: ResultRow) -> None:
        """Append one row, on the disk when this returns. Raises IPAdapterError where the disk takes no more."""
        try:
            with self.journal.open("ab") as file:
                file.write(as_line(values_of(row)).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise IPAdapterError(
                f"'{self.journal}' cannot be written: {error.strerror}; the rows before are safe, run the same "
                "command again when there is room."
            ) from error
        self.rows.append(row)

    def close(self) -> None:
        """Write the Parquet file where one is wanted."""
        if self.path.suffix == PARQUET:
            write_parquet(self.path, self.rows)
            self.journal.unlink()


def values_of(row: ResultRow) -> list[object]:
    """A row's values as CSV has them: nothing for None."""
    return ["" if value is None else value for value in asdict(row).values()]


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


def repair(path: Path) -> list[ResultRow]:
    """Rows of a CSV file, without a last one that was cut short, which is removed from the file too."""
    data = path.read_bytes()
    lines = [line.decode("utf-8", errors="replace") for line in data.split(b"\n")[:-1]]  # all that are ended
    if not lines or lines[0] != as_line(RESULT_COLUMNS).strip():
        raise IPAdapterError(f"'{path.name}' is not a table of an evaluation: choose another file.")
    rows = [row for number, line in enumerate(lines[1:], 2) if (row := parse_row(path, line, number, len(lines)))]
    if (kept := as_file(rows)) != data:
        write_whole(path, kept)
    return rows


def parse_row(path: Path, line: str, number: int, last: int) -> ResultRow | None:
    """One line's row; None for a last line that is broken. Raises IPAdapterError for any other that is."""
    try:
        return read_row(next(csv.reader([line])))
    except (ValueError, StopIteration, csv.Error) as error:
        if number == last:
            return None
        raise IPAdapterError(f"'{path.name}' is damaged in line {number}: remove that line, or begin anew.") from error


def import_pyarrow() -> Any:
    """pyarrow's Parquet module. Raises IPAdapterError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise IPAdapterError(PYARROW) from error
    return pyarrow


def write_parquet(path: Path, rows: Sequence[ResultRow]) -> None:
    """All rows at once."""
    pyarrow = import_pyarrow()
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([asdict(row) for row in rows]), temporary)


def read_parquet(path: Path) -> list[ResultRow]:
    """Rows of a finished table."""
    try:
        return [ResultRow(**row) for row in import_pyarrow().parquet.read_table(path).to_pylist()]
    except (TypeError, OSError, ValueError) as error:
        raise IPAdapterError(f"'{path.name}' is not a table of an evaluation: choose another file.") from error
