"""What becomes of an old graph as the front end opens it: nodes that nothing answers to are replaced, and those of
others that are called as the old pack's are told apart.

Whatever a server answers to is left alone, for it works as it is, or the front end's own button replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .forms import Form, GraphJson
from .moving import MayMove
from .recognise import Kept
from .report import Change, change_lines, shared_notes
from .rules import MIGRATION_RULES, MigrationRule
from .ui_format import graphs_of, migrate_workflow, recognise_ui_node

STAYS_OLD = "old IP-Adapter nodes are kept"  # in the `extra` of a graph of which the replacement was taken back
BACK = "Undo brings the old ones back, and the file stays as it is until it is saved."


@dataclass(frozen=True)
class OpenedGraph:
    """A workflow as it is to be opened; what nodes of others are called in it and in truth; and what there is to say,
    a line each."""

    workflow: GraphJson
    others: dict[str, str]
    title: str = ""
    lines: tuple[str, ...] = ()


def open_old(workflow: GraphJson, may_move: MayMove, is_installed: Callable[[Form], bool]) -> OpenedGraph:
    """A workflow with what nothing answers to replaced, and what hangs together with it. The one given stays as it is.

    `may_move` is whether a server has the new nodes, and `is_installed` whether it has a node of this form.
    """
    is_kept = bool((workflow.get("extra") or {}).get(STAYS_OLD))
    made, changes, warnings = migrate_workflow(
        workflow, lambda rules: not is_kept and of_first(rules) and may_move(rules)
    )
    others = dict(set_apart(made, is_installed))
    if not changes:
        return OpenedGraph(made, others)
    return OpenedGraph(
        made, others, f"{len(changes)} old IP-Adapter node(s) replaced", (BACK, *warnings, *said_of(changes))
    )


def of_first(rules: Sequence[MigrationRule]) -> bool:
    """Whether one of them is of the old pack's first version, which nothing answers to and no button replaces."""
    return any(rule not in MIGRATION_RULES.values() for rule in rules)


def set_apart(workflow: GraphJson, is_installed: Callable[[Form], bool]) -> Iterator[tuple[str, str]]:
    """Call nodes by their makers, where they would be taken for the old pack's: the name that each then has, and its
    own."""
    for node in (node for graph in graphs_of(workflow) for node in graph.nodes):
        found = recognise_ui_node(node)
        if isinstance(found, Kept) and node["type"] in MIGRATION_RULES and not is_installed(found.legacy_form):
            own = node["type"]
            node["type"] = f"{own} ({found.whose})"
            yield node["type"], own


def said_of(changes: Sequence[Change]) -> Iterator[str]:
    """What was dropped, what will look different, and what was replaced by what."""
    lines = [[line.strip() for line in change_lines(change)] for change in changes]
    for change, (_, *dropped) in zip(changes, lines, strict=True):
        yield from (f"node {change.node} {line}" for line in dropped)
    yield from (f"{note} ({nodes})" for note, nodes in shared_notes(changes))
    yield "; ".join(first for first, *_ in lines)
