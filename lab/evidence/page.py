"""docs/evidence.md: every claim with its pictures, its numbers and its verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from ipadapter.drawing.contact_sheet import Sheet, draw_sheet
from ipadapter.evaluation.statistics import Estimate

from .. import store
from ..adapting import BATCH, STEPS
from .claims import WHOLE, Table
from .verdicts import VERDICTS, Verdict, estimate

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images" / "evidence"
CELL = 128  # pixels of a picture on a sheet

TITLES = {
    "follows": "1. The image prompt is followed, the more the larger λ is",
    "designs": "2. Decoupled attention beats the simple adapter; 16 tokens beat 4",
    "nothing_at_zero": "3. λ = 0 is the base model, to the bit",
    "another_base": "4. The adapter works, untrained, on a fine-tuned base",
    "structure": "5. Structure from a ControlNet, appearance from the image prompt",
    "text_too": "6. Text decides what the image leaves open",
    "from_a_picture": "7. Image to image and inpainting with an image prompt",
}

NOTES = {
    "designs": "This claim does not show in miniature. All three adapters had the same {steps} steps of {batch} "
    "pictures and the same learning rate; the paper compared designs after 200,000 steps on photographs, which nothing "
    "here can stand for. With so short a training, the adapter that learns only a projection ({simple} numbers) is the "
    "nearest to its reference, and the one that learns the most ({plus}) is the farthest.",
}

HEAD = """# Evidence

The paper's claims (arXiv 2308.06721), in miniature: the laboratory in [lab/](../lab/README.md) is a small world of
coloured shapes with captions, and small models of the real classes, trained on it. What follows was measured through
this pack's own nodes' code and ComfyUI's sampler by

    python -m lab.evidence

on held-out references (combinations of shape, colour and style that no model was trained on), as many as each section
says, with {seeds} seeds each, {steps} steps, guidance {guidance:g}. Attributes are read from the pictures by a
classifier trained only on the data set. Brackets are 95 % intervals: a bootstrap over references. A statement *holds*
where the interval of its difference lies above zero; differences are paired by reference and seed.

What this shows is that the mechanism does what the paper says, in a world of a few hundred kinds of picture. It says
nothing about the quality of any published adapter, and CLIP-I is measured with the very encoder the adapters read,
which favours them.
"""


def make_page(tables: dict[str, Table], steps: int, guidance: float) -> str:
    """The whole page; the pictures that come with the tables are written."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    parts = [HEAD.format(seeds=WHOLE.seeds, steps=steps, guidance=guidance)]
    return "\n".join([*parts, *(section(name, table) for name, table in tables.items())])


def section(name: str, table: Table) -> str:
    """One claim."""
    lines = [f"## {TITLES[name]}", ""]
    if table.pictures:
        write_sheet(name, table)
    if (IMAGES / f"{name}.jpg").exists():
        lines += [f"![{TITLES[name]}](images/evidence/{name}.jpg)", ""]
    lines += [note, ""] if (note := note_of(name)) else []
    verdicts = list(VERDICTS[name](table))
    measured = f"Measured on {references_of(table)} references."
    return "\n".join([*lines, *verdict_lines(verdicts), "", measured, "", *number_lines(table), ""])


def references_of(table: Table) -> int:
    """How many references a claim was measured on."""
    return max(len(set(row.groups)) for row in table.rows.values())


def note_of(name: str) -> str:
    """What is to be said beside the numbers, with how the adapters were trained."""
    sizes = {adapter: f"{count_numbers(adapter):,}" for adapter in ("simple-adapter", "ip-adapter-plus")}
    given = {"simple": sizes["simple-adapter"], "plus": sizes["ip-adapter-plus"]}
    return NOTES.get(name, "").format(steps=STEPS, batch=BATCH, **given)


def count_numbers(adapter: str) -> int:
    """Trained numbers of an adapter."""
    return sum(tensor.numel() for tensor in store.load(adapter).values())


def write_sheet(name: str, table: Table) -> None:
    """The claim's pictures with labels."""
    rows = list(dict.fromkeys(row for row, _ in table.pictures))
    columns = list(dict.fromkeys(column for _, column in table.pictures))
    pictures = [as_image(table.pictures[(row, column)].numpy()) for row in rows for column in columns]
    sheet = Sheet(pictures, len(columns), pictures[0].size, rows, columns)
    draw_sheet(sheet, CELL).save(IMAGES / f"{name}.jpg", quality=90)


def as_image(picture: np.ndarray) -> Image.Image:
    """0 … 1 to a picture."""
    return Image.fromarray((picture * 255).round().clip(0, 255).astype(np.uint8))


def verdict_lines(verdicts: Iterable[Verdict]) -> list[str]:
    """Statements, differences, verdicts."""
    lines = ["| Statement | Difference | |", "|---|---|---|"]
    return lines + [
        f"| {v.statement} | {cell(v.difference)} | {'holds' if v.holds else '**does not hold**'} |" for v in verdicts
    ]


def number_lines(table: Table) -> list[str]:
    """Every measure under every condition."""
    conditions = list(dict.fromkeys(condition for condition, _ in table.rows))
    measures = list(dict.fromkeys(measure for _, measure in table.rows))
    chances = {row.measure: row.chance for row in table.rows.values() if row.chance is not None}
    heads = [f"{measure} (chance {chances[measure]:.2f})" if measure in chances else measure for measure in measures]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(measures)}"]
    return lines + [f"| {c} | {' | '.join(value(table, c, m) for m in measures)} |" for c in conditions]


def value(table: Table, condition: str, measure: str) -> str:
    """One cell, empty where it was not measured."""
    return cell(estimate(table, condition, measure)) if (condition, measure) in table.rows else ""


def cell(made: Estimate) -> str:
    """A mean with its interval."""
    return f"{made.mean:.3f} [{made.low:.3f}, {made.high:.3f}]" if made.low is not None else f"{made.mean:.3f}"
