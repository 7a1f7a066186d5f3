"""What becomes of an old graph as the front end opens it: nodes that nothing answers to are replaced, and those of
others that are called as the old pack's are told apart.

Whatever a server answers to is left alone, for it works as it is, or the front end's own button replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .api_format import migrate_prompt, recognise_api_node
from .forms import Form, GraphJson
from .moving import MayMove
from .recognise import Kept, Recognised
from .report import Change, change_lines, shared_notes
from .rules import MIGRATION_RULES, MigrationRule
from .ui_format import graphs_of, migrate_workflow, recognise_ui_node

STAYS_OLD = "old IP-Adapter nodes are kept"  # in the `extra` of a graph of which the replacement was taken back
FILE_STAYS = "The file stays as it is until it is saved."
BACK = "Undo brings the old ones back. " + FILE_STAYS

IsInstalled = Callable[[Form], bool]  # whether a server has a node of this form


@dataclass(frozen=True)
class OpenedGraph:
    """A workflow or a prompt as it is to be opened; what nodes of others are called in it and in truth; and what there
    is to say, a line each."""

    graph: GraphJson
    others: dict[str, str]
    title: str = ""
    lines: tuple[str, ...] = ()


def open_old(workflow: GraphJson, may_move: MayMove, is_installed: IsInstalled) -> OpenedGraph:
    """A workflow with what nothing answers to replaced, and what hangs together with it. The one given stays as it is.

    `may_move` is whether a server has the new nodes.
    """
    is_kept = bool((workflow.get("extra") or {}).get(STAYS_OLD))
    made, changes, warnings = migrate_workflow(
        workflow, lambda rules: not is_kept and of_first(rules) and may_move(rules)
    )
    others = dict(set_apart(made, is_installed))
    return with_words(OpenedGraph(made, others), changes, (BACK, *warnings))


def open_old_prompt(prompt: GraphJson, may_move: MayMove, is_installed: IsInstalled) -> OpenedGraph:
    """The same of a prompt. The front end leaves out nodes that it does not know, so those of both versions are
    replaced."""
    migrated, changes, warnings = migrate_prompt(prompt, may_move)
    made, others = set_apart_in_prompt(migrated, is_installed)
    return with_words(OpenedGraph(made, others), changes, (FILE_STAYS, *warnings))


def with_words(opened: OpenedGraph, changes: Sequence[Change], first: Sequence[str]) -> OpenedGraph:
    """With what there is to say of the nodes that were replaced, if any were."""
    if not changes:
        return opened
    title = f"{len(changes)} old IP-Adapter node(s) replaced"
    return replace(opened, title=title, lines=(*first, *said_of(changes)))


def of_first(rules: Sequence[MigrationRule]) -> bool:
    """Whether one of them is of the old pack's first version, which nothing answers to and no button replaces."""
    return any(rule not in MIGRATION_RULES.values() for rule in rules)


def set_apart(workflow: GraphJson, is_installed: IsInstalled) -> Iterator[tuple[str, str]]:
    """Call nodes by their makers, where they would be taken for the old pack's: the name that each then has, and its
    own."""
    for node in (node for graph in graphs_of(workflow) for node in graph.nodes):
        name = name_apart(recognise_ui_node(node), is_installed)
        if name:
            own = node["type"]
            node["type"] = name
            yield name, own


def set_apart_in_prompt(prompt: GraphJson, is_installed: IsInstalled) -> tuple[GraphJson, dict[str, str]]:
    """The same in a prompt, which stays as it is: one with the names, and whose they are in truth."""
    each = ((key, name_apart(recognise_api_node(node), is_installed)) for key, node in prompt.items())
    names = {key: name for key, name in each if name}
    made = {**prompt, **{key: {**prompt[key], "class_type": name} for key, name in names.items()}}
    return made, {name: prompt[key]["class_type"] for key, name in names.items()}


def name_apart(found: Recognised | None, is_installed: IsInstalled) -> str:
    """What a node of others is called, if it would be taken for the old pack's and its own pack is not there."""
    if not isinstance(found, Kept) or found.legacy_form.id not in MIGRATION_RULES or is_installed(found.legacy_form):
        return ""
    return f"{found.legacy_form.id} ({found.whose})"


def said_of(changes: Sequence[Change]) -> Iterator[str]:
    """What was dropped, what will look different, and what was replaced by what."""
    lines = [[line.strip() for line in change_lines(change)] for change in changes]
    for change, (_, *dropped) in zip(changes, lines, strict=True):
        yield from (f"node {change.node} {line}" for line in dropped)
    yield from (f"{note} ({nodes})" for note, nodes in shared_notes(changes))
    yield "; ".join(first for first, *_ in lines)
