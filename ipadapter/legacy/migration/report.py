"""What was changed in a graph, node by node, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from .forms import Form, GraphJson, Widget
from .rules import Chosen, MigrationRule


@dataclass(frozen=True)
class Change:
    """One node that was replaced."""

    node: str  # its id, behind that of the subgraph it is in
    title: str
    old: str
    new: str
    dropped: tuple[str, ...] = ()  # settings that are not carried over, and why
    notes: tuple[str, ...] = ()  # what will look different
    subgraph: str = ""


@dataclass(frozen=True)
class Report:
    """One file."""

    file: str
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()
    written: str | None = None
    backup: str | None = None
    error: str | None = None

    def as_dict(self) -> GraphJson:
        """For a JSON file."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        if self.error:
            yield f"{self.file}: {self.error}"
            return
        yield f"{self.file}: {self.summary}"
        yield from (line for change in self.changes for line in change_lines(change))
        yield from (f"  ! {note} ({nodes})" for note, nodes in shared_notes(self.changes))
        yield from (f"  ! {warning}" for warning in self.warnings)

    @property
    def summary(self) -> str:
        """One line."""
        if not self.changes:
            return "nothing to change, left alone."
        backup = f", the old file is {self.backup}" if self.backup else ""
        where = f"written to {self.written}{backup}" if self.written else "not written"
        return f"{len(self.changes)} node(s) changed, {where}."


def change_lines(change: Change) -> Iterator[str]:
    """A node and what of it was dropped."""
    place = f" in subgraph {change.subgraph}" if change.subgraph else ""
    title = f" “{change.title}”" if change.title else ""
    yield f"  node {change.node}{title}{place}: {change.old} → {change.new}"
    yield from (f"    without {line}" for line in change.dropped)


def shared_notes(changes: Sequence[Change]) -> list[tuple[str, str]]:
    """Every note once, with the nodes it is for."""
    notes = dict.fromkeys(note for change in changes for note in change.notes)
    return [(note, ", ".join(f"node {change.node}" for change in changes if note in change.notes)) for note in notes]


def describe_change(rule: MigrationRule, node: str, title: str, chosen: Chosen) -> Change:
    """What a rule changes on a node."""
    dropped = tuple(
        f"{name}{said(chosen, name)}: {why}"
        for name, why in {**rule.dropped, **rule.untold(chosen.links)}.items()
        if chosen.differs(name, rule.legacy_form.defaults.get(name, ""))
    )
    return Change(
        node, title, rule.legacy, rule.new, dropped, tuple(note.text for note in rule.notes if note.due(chosen))
    )


def said(chosen: Chosen, name: str) -> str:
    """What was chosen."""
    return " (linked)" if name in chosen.links else f" = {chosen.values[name]}"


def misfits(form: Form, values: Mapping[str, object]) -> Iterator[Widget]:
    """Widgets that cannot have the value that is meant for them."""
    yield from (widget for widget in form.widgets if widget.name in values and not widget.takes(values[widget.name]))


def with_misfits(change: Change, rule: MigrationRule, values: Mapping[str, object], then: str) -> Change:
    """With a note for every value that the new node cannot have, and what is to be done or was done about it."""
    odd = tuple(
        f"{widget.name} is {values[widget.name]!r}, and {rule.new} takes {widget.range}: {then}"
        for widget in misfits(rule.new_form, values)
    )
    return replace(change, notes=(*change.notes, *odd))
