"""docs/evidence.md: every claim with its pictures, its numbers and its verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

from ipadapter.drawing.contact_sheet import Sheet, draw_sheet
from ipadapter.evaluation.statistics import Estimate

from .. import store
from ..designs import (
    BATCH,
    DESIGNS,
    EXAM,
    FLAT,
    FOUR,
    LOOK_EVERY,
    MIDDLE_RATE,
    NEAR,
    ROUNDS,
    RUNS,
    SIXTEEN,
    TRIAL,
    WHOLE_MODEL,
    Curve,
    Design,
)
from ..probe import ASKED, EMBEDDING, PATCHES, SCENES, Kept, left_over, probe_lines
from .charts import draw_curves, draw_tradeoff
from .tables import WHOLE, Table
from .verdicts import VERDICTS, Verdict, estimate, runs_of
from .wide import ANOTHER, DISTANCES

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images" / "evidence"
CELL = 128  # pixels of a picture on a sheet

TITLES = {
    "follows": "1. The image prompt is followed, the more the larger λ is",
    "designs": "2. Decoupled attention against the simple adapter; 16 tokens against 4",
    "whole_model": "3. The adapter against the whole model fine-tuned on image embeddings",
    "tradeoff": "4. λ trades the text for the image",
    "nothing_at_zero": "5. λ = 0 is the base model, to the bit",
    "another_base": "6. The adapter works, untrained, on a fine-tuned base",
    "structure": "7. Structure from a ControlNet, appearance from the image prompt",
    "text_too": "8. Text decides what the image leaves open",
    "from_a_picture": "9. Image to image and inpainting with an image prompt",
}

NOTES = {
    "designs": """Measured in the wider world, where captions leave the shape's place and size open and say nothing of
a small disc beside it (its *companion*). All three designs saw the same pictures, noise and batches, {runs} runs each:
{constant} steps of {batch} pictures at a constant learning rate, and {falling} at one that falls from there to nothing.
The rate is the one that left the smallest loss after {trial} steps, on {exam} pictures that nothing learns from; of
several whose losses are within {near:g} of it, the one nearest to {middle:g}. That these count as the same was decided
when the rates had been tried: by the smallest loss alone {by_loss}. The loss is the paper's, weighed by the noise
level, so that what is decided early counts as much as what is decided late. A curve counts as flat where the last
third of the steps brought less than {flat:.0%} of all that the image prompt takes off the loss of the text alone:
{flats}. The last third begins where the falling rate has just begun, with a new optimizer and a new average; the loss
stands higher there than before, and what it comes down again counts with the rest.{edges}

Places, sizes and colours are read off the pixels, without a network. *Another reference* is what a picture of
something else would get, *the reference through the autoencoder* what can be had at best. A companion that is not seen
counts as far away as a random place is on the average; *a companion seen* says how often there is one at all. The wide
base draws it seldom, and no adapter can place what its base does not draw. *No image prompt* is that base, told
nothing. Differences are taken run by run and picture by picture; where distances are compared, a positive one is how
much nearer the first is.""",
    "whole_model": """The paper's other comparison. The whole model reads four image tokens in place of the text's, and
all of its {whole:,} numbers learn, where the adapter has {four:,}; the same pictures, noise and steps, one run, at a
learning rate chosen in the same way, {whole_rates}. Its loss at the end was {whole_loss:.5f}; {whole_late:.1%} of what
it takes off came in the last third of the steps.{whole_edge}

Its weights are too large to be kept, so its pictures were read when it was trained. It has no text prompt any more,
and it is one model: on the fine-tuned base, which draws by night and has never seen a companion, only the adapter can
be used. There the night is taken off the pictures before they are read.""",
    "tradeoff": """The adapter of claim 1 with a text that tells of another shape, colour, style and background than
the image has. CLIP-T is the cosine of the picture with the text that was told, CLIP-I with the image.""",
}

CARRIED = """What there is to carry: a linear map, fitted to the {scenes} scenes the designs learn from, reads this
much of {asked} held-out ones off what each is given (`python -m lab.probe`; R² is the share of the variance that is
told). A picture drawn with all that the map reads off the image embedding would have its shape {embedding:.1f} pixels
away from the reference's, with all that it reads off the patches {patches:.1f}. In the pictures drawn it is {four:.1f}
away with 4 decoupled tokens, made of the embedding, and {sixteen:.1f} with 16, made of the patches."""

HEAD = """# Evidence

The paper's claims (arXiv 2308.06721), in miniature: the laboratory in [lab/](../lab/README.md) is a small world of
coloured shapes with captions, and small models of the real classes, trained on it. What follows was measured through
this pack's own nodes' code and ComfyUI's sampler by

    python -m lab.evidence

on held-out references (combinations of shape, colour and style that no model was trained on), as many as each section
says, with {seeds} seeds each, {steps} steps, guidance {guidance:g}. Attributes are read from the pictures by a
classifier trained only on the data set, and in claims 2 and 3 off the pixels. Brackets are 95 % intervals: a bootstrap
over references. A statement *holds* where the interval of its difference lies above zero, and its *opposite* where it
lies below; differences are paired by reference and seed.

What this shows is that the mechanism acts as the paper says, in a world of a few hundred kinds of picture; what the
paper found of one design against another, after long training, does not come out here (claims 2 and 3). It says nothing
about the quality of any published adapter, and CLIP-I is measured with the very encoder the adapters read, which
favours them.
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
    lines += BESIDE[name](table) if name in BESIDE else []
    verdicts = list(VERDICTS[name](table))
    measured = f"Measured on {references_of(table)} references."
    return "\n".join([*lines, *verdict_lines(verdicts), "", measured, "", *number_lines(table), ""])


def references_of(table: Table) -> int:
    """How many references a claim was measured on."""
    return max(len(set(row.groups)) for row in table.rows.values())


def note_of(name: str) -> str:
    """What is to be said beside the numbers, with how the designs were trained."""
    report = store.read_report()
    flats = [curve_of(report[design.name], run).is_flat for design in DESIGNS for run in range(design.runs)]
    return NOTES.get(name, "").format(
        constant=ROUNDS[0].steps,
        falling=ROUNDS[1].steps,
        batch=BATCH,
        runs=RUNS,
        trial=TRIAL,
        near=NEAR,
        middle=MIDDLE_RATE,
        exam=EXAM,
        flat=FLAT,
        flats=f"{sum(flats)} of the {len(flats)} are",
        by_loss=", ".join(by_loss_alone(DESIGNS, report)) or "all would have learned at the same",
        edges="".join(edge_of(design, report) for design in DESIGNS),
        whole_edge=edge_of(WHOLE_MODEL, report),
        whole_rates=rates_of(WHOLE_MODEL, report),
        whole_loss=report[WHOLE_MODEL.name]["loss"],
        whole_late=curve_of(report[WHOLE_MODEL.name], 0).late,
        whole=report[WHOLE_MODEL.name]["learned"],
        four=report[FOUR.name]["learned"],
    )


def rates_of(design: Design, report: Mapping[str, Any]) -> str:
    """The learning rate that was chosen, and those tried."""
    return f"{report[design.name]['rate']:g} of {', '.join(f'{rate:g}' for rate in design.rates)}"


def by_loss_alone(designs: Iterable[Design], report: Mapping[str, Any]) -> Iterator[str]:
    """The designs that would have had another rate by the smallest loss, and which."""
    for design in designs:
        trials = {float(rate): loss for rate, loss in report[design.name]["trials"].items()}
        smallest = min(trials, key=lambda rate: trials[rate])
        if smallest != report[design.name]["rate"]:
            yield f"*{design.title}* would have learned at {smallest:g}"


def edge_of(design: Design, report: Mapping[str, Any]) -> str:
    """One more sentence where a design's learning rate is the first or the last of those tried."""
    rate = report[design.name]["rate"]
    which = {design.rates[0]: "lowest", design.rates[-1]: "highest"}
    return (
        f" *{design.title}* took the {which[rate]} rate tried, and another might suit it better."
        if rate in which
        else ""
    )


def curve_of(numbers: Mapping[str, Any], run: int) -> Curve:
    """A run's curve as the report keeps it."""
    return Curve(numbers["curves"][run], numbers["untold"])


def training_lines(table: Table) -> list[str]:
    """How the designs learned: a table and the curves."""
    report = store.read_report()
    lines = ["| | numbers that learn | learning rate | loss, text alone | loss at the end, by run | of it late |"]
    lines += ["|---|---|---|---|---|---|"]
    for design in DESIGNS:
        told = report[design.name]
        ends = ", ".join(f"{points[-1]:.5f}" for points in told["curves"])
        late = ", ".join(f"{curve_of(told, run).late:.1%}" for run in range(design.runs))
        learned, rates = f"{told['learned']:,}", rates_of(design, report)
        lines.append(f"| {design.title} | {learned} | {rates} | {told['untold']:.5f} | {ends} | {late} |")
    curves = {
        design.title: [list(enumerate(points))[1:] for points in report[design.name]["curves"]] for design in DESIGNS
    }
    if table.pictures:
        draw_curves(curves, LOOK_EVERY).save(IMAGES / "designs-curves.png")
    return [
        *lines,
        "",
        "![Loss over the steps](images/evidence/designs-curves.png)",
        "",
        *what_there_is(table, report["probe"]),
        "",
    ]


def what_there_is(table: Table, found: Kept) -> list[str]:
    """What a probe reads off that which the designs are given, and how near to its place a shape can be drawn so."""
    away = estimate(table, ANOTHER, DISTANCES[0]).mean
    ends = [away * left_over(found[feature]["place"][0]) for feature in (EMBEDDING, PATCHES)]
    four, sixteen = (drawn_away(table, design) for design in (FOUR, SIXTEEN))
    said = CARRIED.format(scenes=SCENES, asked=ASKED, embedding=ends[0], patches=ends[1], four=four, sixteen=sixteen)
    return [said, "", *probe_lines(found)]


def drawn_away(table: Table, design: Design) -> float:
    """How far the shape is from its place in a design's pictures, all runs together."""
    return fmean(estimate(table, run, DISTANCES[0]).mean for run in runs_of(design))


def curve_lines(table: Table) -> list[str]:
    """CLIP-I against CLIP-T over λ."""
    found = [
        (estimate(table, condition, "CLIP-T"), estimate(table, condition, "CLIP-I"), condition)
        for condition in dict.fromkeys(condition for condition, _ in table.rows)
    ]
    if table.pictures:
        draw_tradeoff(found).save(IMAGES / "tradeoff-curve.png")
    return ["![CLIP-I against CLIP-T over λ](images/evidence/tradeoff-curve.png)", ""]


BESIDE: dict[str, Callable[[Table], list[str]]] = {"designs": training_lines, "tradeoff": curve_lines}


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
    return lines + [f"| {v.statement} | {cell(v.difference)} | {v.said} |" for v in verdicts]


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
