"""What each claim says about its table, and whether the numbers bear it out.

A statement holds where the 95 % interval of its difference lies above zero. Differences are taken reference by
reference (the same seeds on both sides), and the interval is a bootstrap over references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ipadapter.evaluation.statistics import Estimate, bootstrap_mean

from ..designs import DESIGNS, FOUR, SIMPLE, SIXTEEN, WHOLE_MODEL, Design
from .claims import APPEARANCE, BASE, PLUS, WEIGHTS
from .runs import condition_of
from .tables import Table
from .wide import ANOTHER, BY_NIGHT, DISTANCES, MEASURES, UNSAID


@dataclass(frozen=True)
class Verdict:
    """A statement, the difference it rests on, and whether it holds."""

    statement: str
    difference: Estimate
    holds: bool

    @property
    def said(self) -> str:
        """Whether it holds, and whether the opposite does."""
        if self.holds:
            return "holds"
        reversed_ = self.difference.high is not None and self.difference.high < 0
        return "**the opposite holds**" if reversed_ else "**does not hold**"


def estimate(table: Table, condition: str, measure: str) -> Estimate:
    """The mean of one measure under one condition."""
    row = table.rows[(condition, measure)]
    return bootstrap_mean(row.values, row.groups)


def difference(table: Table, measure: str, more: str, less: str) -> Estimate:
    """By how much a measure is larger under one condition than under another."""
    a, b = table.rows[(more, measure)], table.rows[(less, measure)]
    return bootstrap_mean([x - y for x, y in zip(a.values, b.values, strict=True)], a.groups)


def above(estimate: Estimate) -> bool:
    """Whether all of the interval is above zero."""
    return estimate.low is not None and estimate.low > 0


def more(table: Table, measure: str, one: str, other: str, statement: str) -> Verdict:
    """A measure is larger under one condition than under another."""
    made = difference(table, measure, one, other)
    return Verdict(statement, made, above(made))


def over_chance(table: Table, condition: str, measure: str, statement: str) -> Verdict:
    """An attribute is found more often than by chance."""
    row = table.rows[(condition, measure)]
    made = bootstrap_mean([value - (row.chance or 0.0) for value in row.values], row.groups)
    return Verdict(statement, made, above(made))


def follows(table: Table) -> Iterator[Verdict]:
    for name in ("shape", "colour", "style", "background"):
        yield over_chance(table, "λ = 1", name, f"{name} of the reference found at λ = 1, above chance")
        yield more(table, name, "λ = 1", "λ = 0", f"{name} of the reference found at λ = 1, above λ = 0")
    for low, high in zip(WEIGHTS, WEIGHTS[1:], strict=False):
        yield more(table, "CLIP-I", f"λ = {high:g}", f"λ = {low:g}", f"CLIP-I at λ = {high:g}, above λ = {low:g}")


def nearer(table: Table, measure: str, one: Sequence[str], other: Sequence[str]) -> Estimate:
    """By how much pictures of one design are nearer to their references than those of another, run by run."""
    signs = -1 if measure in DISTANCES else 1
    rows = [(table.rows[(a, measure)], table.rows[(b, measure)]) for a, b in zip(one, other, strict=True)]
    values = [signs * (x - y) for a, b in rows for x, y in zip(a.values, b.values, strict=True)]
    return bootstrap_mean(values, [group for a, _ in rows for group in a.groups])


def runs_of(design: Design) -> list[str]:
    """The names of a design's runs in a table."""
    return [condition_of(design, number) for number in range(1, design.runs + 1)]


def designs(table: Table) -> Iterator[Verdict]:
    for one, other in ((FOUR, SIMPLE), (SIXTEEN, FOUR)):
        for measure in MEASURES:
            made = nearer(table, measure, runs_of(one), runs_of(other))
            yield Verdict(f"{named(measure)}: {one.title} nearer than {other.title}", made, above(made))
    for design in DESIGNS:
        for measure in UNSAID:
            made = nearer(table, measure, runs_of(design), [ANOTHER] * design.runs)
            yield Verdict(f"{named(measure)}: {design.title} nearer than another reference", made, above(made))


def named(measure: str) -> str:
    """A measure without its unit."""
    return measure.removesuffix(", pixels")


def whole_model(table: Table) -> Iterator[Verdict]:
    for measure in MEASURES:
        made = nearer(table, measure, [FOUR.title], [WHOLE_MODEL.title])
        yield Verdict(f"{named(measure)}: {FOUR.title} nearer than {WHOLE_MODEL.title}", made, above(made))
    for measure in MEASURES:
        made = nearer(table, measure, [BY_NIGHT], [ANOTHER])
        yield Verdict(f"{named(measure)}: {BY_NIGHT} nearer than another reference", made, above(made))


def tradeoff(table: Table) -> Iterator[Verdict]:
    none, half, full = "λ = 0", "λ = 0.5", "λ = 1"
    yield more(table, "CLIP-I", full, none, "CLIP-I with the image: at λ = 1, above λ = 0")
    yield more(table, "CLIP-T", none, full, "CLIP-T with the text: at λ = 0, above λ = 1")
    for measure, most, least in (("CLIP-I", full, none), ("CLIP-T", none, full)):
        ends = (table.rows[(end, measure)].values for end in (most, least))
        row = table.rows[(half, measure)]
        spare = [value - (a + b) / 2 for value, a, b in zip(row.values, *ends, strict=True)]
        made = bootstrap_mean(spare, row.groups)
        yield Verdict(f"{measure} at λ = 0.5 above the middle of λ = 0 and λ = 1", made, above(made))


def nothing_at_zero(table: Table) -> Iterator[Verdict]:
    for name in (BASE, PLUS):
        made = estimate(table, name, "largest difference of a pixel")
        yield Verdict(f"{name} at λ = 0: no pixel of any picture differs from the base model's", made, made.high == 0)


def another_base(table: Table) -> Iterator[Verdict]:
    one, zero = "fine-tuned, λ = 1", "fine-tuned, λ = 0"
    for name in ("shape", "colour", "style", "background"):
        yield more(table, name, one, zero, f"{name} of the reference found on the fine-tuned base, above λ = 0")
    night = "night, as the fine-tuned base draws"
    yield over_chance(table, one, night, "pictures stay the fine-tuned base's own kind (night)")


def structure(table: Table) -> Iterator[Verdict]:
    yield over_chance(table, "both", "shape is the structure's", "shape is the structure's, above chance")
    for name in APPEARANCE:
        yield more(table, name, "both", "structure alone", f"{name} is the image prompt's, above structure alone")


def text_too(table: Table) -> Iterator[Verdict]:
    cut, half = "cut-out reference, λ = 1", "whole reference, λ = 0.5"
    for condition in (cut, half):
        told = "background is the text's"
        yield over_chance(table, condition, told, f"{condition}: background is the text's, above chance")
        for name in ("shape", "colour", "style"):
            yield more(
                table, name, condition, "text alone", f"{condition}: {name} is the reference's, above text alone"
            )


def from_a_picture(table: Table) -> Iterator[Verdict]:
    for task, names in {
        "image to image": ("shape", "colour", "style", "background"),
        "inpainting": ("shape", "colour", "style"),
    }.items():
        for name in names:
            one, zero = f"{task}, λ = 1", f"{task}, λ = 0"
            yield more(table, name, one, zero, f"{task}: {name} of the image prompt, above λ = 0")


VERDICTS: dict[str, Callable[[Table], Iterator[Verdict]]] = {
    "follows": follows,
    "designs": designs,
    "whole_model": whole_model,
    "tradeoff": tradeoff,
    "nothing_at_zero": nothing_at_zero,
    "another_base": another_base,
    "structure": structure,
    "text_too": text_too,
    "from_a_picture": from_a_picture,
}
