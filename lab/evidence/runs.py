"""What the designs' runs come to, every seed of them: measured when they are built, since not all weights are kept."""

from __future__ import annotations

import shutil
from typing import Any

import torch

from .. import store
from ..designs import WHOLE_MODEL, Design, path_of, seeds_of, train_design
from .tables import WHOLE, Extent, Row, Table, load_rows, save_rows
from .wide import measure, trained

DECIMALS = 4


def build_design(design: Design, seed: int) -> dict[str, Any]:
    """Train, measure every seed's pictures, and keep the first seed's weights (a whole model's are too large)."""
    numbers = train_design(design, seed)
    table = Table()
    for number, one in enumerate(seeds_of(design, seed), 1):
        with torch.inference_mode():
            measure(table, condition_of(design, number), trained(design, path_of(design, one)), WHOLE)
    for row in table.rows.values():
        row.values = [round(value, DECIMALS) for value in row.values]
    rows = store.rows_of(design.name)
    rows.parent.mkdir(parents=True, exist_ok=True)
    save_rows(rows, table)
    if design is not WHOLE_MODEL:
        shutil.copyfile(path_of(design, seed), store.path_of(design.name))
    return numbers


def condition_of(design: Design, number: int) -> str:
    """A run's name in a table, counted from 1."""
    return f"{design.title}, run {number}"


def kept_rows(design: Design, extent: Extent) -> list[Row]:
    """The numbers of every run, of so many references and pictures of each."""
    return [shortened(row, extent) for row in load_rows(store.rows_of(design.name)).rows.values()]


def shortened(row: Row, extent: Extent) -> Row:
    """The first references' first pictures; a reference's stand side by side."""
    chosen = [
        number
        for number, group in enumerate(row.groups)
        if group < extent.references and number % WHOLE.seeds < extent.seeds
    ]
    values, groups = [row.values[number] for number in chosen], [row.groups[number] for number in chosen]
    return Row(row.condition, row.measure, values, groups, row.chance)
