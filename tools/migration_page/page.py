"""A page that says of every old node what it becomes, in some language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ipadapter.legacy.migration.first_rules import FIRST_RULES
from ipadapter.legacy.migration.rules import MIGRATION_RULES, MigrationRule


@dataclass(frozen=True)
class MigrationPage:
    """The words around what the rules say."""

    file: str  # in the checkout
    head: str  # ends with the table's head
    first_head: str  # the same for nodes of version 1
    foot: str  # with a place for the notes
    comma: str  # between the entries of a cell
    in_a_new_graph: Mapping[str, str]  # old node -> what serves there
    notes: Mapping[str, str] | None = None  # a note's text -> in this language; None where it is the notes' own


def note_texts() -> list[str]:
    """The text of every note, once."""
    rules = (*MIGRATION_RULES.values(), *FIRST_RULES)
    return list(dict.fromkeys(note.text for rule in rules for note in rule.notes))


def row(page: MigrationPage, rule: MigrationRule) -> str:
    """One old node."""
    texts = note_texts()
    renamed = [f"`{old}` → `{new}`" for old, new in rule.renamed.items()]
    fixed = [f"`{name}` = {value}" for name, value in rule.fixed.items()]
    chosen = [f"*{old}* → *{new}*" for choices in rule.choices.values() for old, new in choices.items()]
    dropped = [f"`{name}`" for name in rule.dropped]
    told = [str(number) for number in sorted(texts.index(note.text) + 1 for note in rule.notes)]
    cells = (f"`{rule.legacy}`", f"`{rule.new}`", *map(page.comma.join, (renamed + chosen + fixed, dropped, told)))
    return "| " + " | ".join((*cells, page.in_a_new_graph[rule.legacy])) + " |\n"


def rows(page: MigrationPage, rules: Iterable[MigrationRule]) -> str:
    """Old nodes by name."""
    return "".join(row(page, rule) for rule in sorted(rules, key=lambda rule: rule.legacy))


def text_of(page: MigrationPage) -> str:
    """The whole page."""
    told = [page.notes[text] if page.notes else text for text in note_texts()]
    numbered = "\n".join(f"{number}. {text}" for number, text in enumerate(told, 1))
    second, first = rows(page, MIGRATION_RULES.values()), rows(page, FIRST_RULES)
    return "".join((page.head, second, page.first_head, first, page.foot.format(numbered)))
