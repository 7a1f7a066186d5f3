"""What each claim says about its table, and whether the numbers bear it out.

A statement holds where the 95 % interval of its difference lies above zero. Differences are taken reference by
reference (the same seeds on both sides), and the interval is a bootstrap over references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ipadapter.evaluation.statistics import Estimate, bootstrap_mean

from .claims import APPEARANCE, BASE, PLUS, WEIGHTS, Table


@dataclass(frozen=True)
class Verdict:
    """A statement, the difference it rests on, and whether it holds."""

    statement: str
    difference: Estimate
    holds: bool


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


def designs(table: Table) -> Iterator[Verdict]:
    four, sixteen, simple = "decoupled, 4 tokens", "decoupled, 16 tokens", "simple, 4 tokens"
    for measure in ("all attributes", "CLIP-I"):
        yield more(table, measure, four, simple, f"{measure}: decoupled above simple, 4 tokens each")
    for measure in ("all attributes", "CLIP-I"):
        yield more(table, measure, sixteen, four, f"{measure}: 16 tokens above 4")
    yield more(table, "pixel difference", four, sixteen, "difference from the reference's pixels: 4 tokens above 16")


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
    "nothing_at_zero": nothing_at_zero,
    "another_base": another_base,
    "structure": structure,
    "text_too": text_too,
    "from_a_picture": from_a_picture,
}
