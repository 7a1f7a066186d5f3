"""What is written down of a run: the loss of every step in `loss.csv`, and curves for TensorBoard."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from ...errors import IPAdapterError
from ...files.replacing import replacing

LOSS_COLUMNS = ("step", "loss", "learning_rate", "examples_per_second")


@dataclass(frozen=True)
class LossRow:
    """One optimizer step."""

    step: int
    loss: float
    learning_rate: float
    examples_per_second: float


@dataclass(frozen=True)
class Journal:
    """The file. It has no row of a step that was lost."""

    path: Path

    def cut(self, step: int) -> None:
        """Start anew, or from the rows up to the step a run goes on from."""
        kept = [row for row in self.rows() if row.step <= step]
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(LOSS_COLUMNS)
            writer.writerows(values(row) for row in kept)

    def add(self, rows: list[LossRow]) -> None:
        """Append. Raises IPAdapterError where the disk takes no more."""
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(values(row) for row in rows)
        except OSError as error:
            raise IPAdapterError(
                f"'{self.path}' cannot be written: {error.strerror}. Make room and run the same command to go on from "
                "the newest checkpoint."
            ) from error

    def rows(self) -> list[LossRow]:
        """What is there; a last line that a killed run wrote in part does not count.

        Raises IPAdapterError where another program has written something else.
        """
        if not self.path.is_file():
            return []
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                lines = list(csv.reader(file))[1:]
        except (UnicodeDecodeError, csv.Error) as error:
            raise IPAdapterError(
                f"'{self.path.name}' is no longer the table of losses that the run wrote ({error}): put it back as it "
                "was, or remove it to go on without what it held."
            ) from error
        return [LossRow(int(line[0]), *map(float, line[1:])) for line in lines if is_whole(line)]


def values(row: LossRow) -> tuple[str, ...]:
    """One line; the loss to the last bit, so that runs can be compared."""
    return str(row.step), repr(row.loss), f"{row.learning_rate:g}", f"{row.examples_per_second:.4g}"


def is_whole(line: list[str]) -> bool:
    """Whether a line has all its numbers."""
    try:
        return len([int(line[0]), *(float(value) for value in line[1:])]) == len(LOSS_COLUMNS)
    except (ValueError, IndexError):
        return False
