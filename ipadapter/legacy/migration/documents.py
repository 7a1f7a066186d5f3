"""What a file may hold besides a graph: several graphs under names, or the front end's node templates.

An export has the workflow and the prompt beside each other, as `workflow` and `output` or `prompt`. A template keeps
the text of what was copied: nodes and links as a workflow has them or, in old front ends, nodes that do not know of
their links, and links between places in the list of nodes: [from, slot, to, slot, …].
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .api_format import is_prompt, migrate_prompt
from .forms import WITHOUT_TYPE, GraphJson
from .report import Change
from .ui_format import FIELDS, is_workflow, migrate_workflow

Migrated = tuple[GraphJson, tuple[Change, ...], tuple[str, ...]]
GRAPH_NAMES = ("workflow", "output", "prompt")  # of graphs in an export


def migration_of(data: Any) -> Callable[[Any], Migrated] | None:
    """How something is migrated, or None where it holds no graph."""
    known: tuple[tuple[Callable[[Any], bool], Callable[[Any], Migrated]], ...] = (
        (is_workflow, migrate_workflow),
        (is_prompt, migrate_prompt),
        (is_export, migrate_export),
        (is_templates, migrate_templates),
    )
    return next((migrate for fits, migrate in known if fits(data)), None)


def is_export(data: Any) -> bool:
    """Whether graphs are under names."""
    return isinstance(data, Mapping) and any(
        is_workflow(data.get(name)) or is_prompt(data.get(name)) for name in GRAPH_NAMES
    )


def is_templates(data: Any) -> bool:
    """Whether these are node templates."""
    return isinstance(data, Mapping) and isinstance(data.get("templates"), list)


def migrate_export(data: GraphJson) -> Migrated:
    """All graphs of an export. A node that is in two of them is told of once."""
    made = dict(data)
    changes: dict[tuple[str, str], Change] = {}
    warnings: dict[str, None] = {}
    for name in GRAPH_NAMES:
        migrate = migrate_workflow if is_workflow(data.get(name)) else migrate_prompt
        if is_workflow(data.get(name)) or is_prompt(data.get(name)):
            made[name], some, said = migrate(data[name])
            changes = {(one.node, one.old): one for one in some} | changes
            warnings |= dict.fromkeys(said)
    return made, tuple(changes.values()), tuple(warnings)


def migrate_templates(data: GraphJson) -> Migrated:
    """All templates; one that cannot be read stays as it is."""
    made = [migrate_template(one) for one in data["templates"]]
    changes = tuple(change for _, some, _ in made for change in some)
    warnings = tuple(warning for _, _, some in made for warning in some)
    return {**data, "templates": [template for template, _, _ in made]}, changes, warnings


def migrate_template(template: Any) -> Migrated:
    """One template. Its text is written anew only where something was changed."""
    content = content_of(template)
    if content is None:
        return template, (), ()
    is_copy = any(isinstance(row, list) and len(row) < len(FIELDS) for row in content["links"])
    graph, changes, warnings = migrate_workflow(joined(content) if is_copy else content)
    if not changes:
        return template, (), warnings
    parted = apart(graph, content) if is_copy else graph
    data = json.dumps(parted, ensure_ascii=False) if isinstance(template["data"], str) else parted
    return {**template, "data": data}, changes, warnings


def content_of(template: Any) -> GraphJson | None:
    """What was copied, where that can be read."""
    data = template.get("data") if isinstance(template, Mapping) else None
    try:
        read = json.loads(data) if isinstance(data, str) else data
    except (ValueError, RecursionError):
        return None
    return dict(read) if isinstance(read, Mapping) and is_workflow(read) else None


def joined(content: GraphJson) -> GraphJson:
    """What was copied as a workflow: nodes numbered by their places, and links named at both ends."""
    nodes = [{**node, "id": place} for place, node in enumerate(content["nodes"])]
    rows = [[number, *row[:4], link_type(nodes, row)] for number, row in enumerate(content["links"], 1)]
    return {**content, "nodes": [linked(node, rows) for node in nodes], "links": rows}


def link_type(nodes: list[GraphJson], row: list[Any]) -> Any:
    """The type of the output that a link of places comes from."""
    return nodes[row[0]]["outputs"][row[1]].get("type", WITHOUT_TYPE)


def linked(node: GraphJson, rows: list[list[Any]]) -> GraphJson:
    """A node whose slots name their links."""
    into = {row[4]: row[0] for row in rows if row[3] == node["id"]}
    inputs = [{**slot, "link": into.get(place)} for place, slot in enumerate(node.get("inputs") or ())]
    outputs = [
        {**slot, "links": [row[0] for row in rows if row[1:3] == [node["id"], place]]}
        for place, slot in enumerate(node.get("outputs") or ())
    ]
    return {**node, "inputs": inputs, "outputs": outputs}


def apart(graph: GraphJson, content: GraphJson) -> GraphJson:
    """The workflow as it was copied: nodes with their old numbers, links between places."""
    rests = {number: row[4:] for number, row in enumerate(content["links"], 1)}
    links = [[*row[1:5], *rests[row[0]]] for row in graph["links"]]
    nodes = [unlinked(node, old) for node, old in zip(graph["nodes"], content["nodes"], strict=True)]
    return {**graph, "nodes": nodes, "links": links}


def unlinked(node: GraphJson, old: GraphJson) -> GraphJson:
    """A node as an old front end copies it."""
    numbered = {"id": old["id"]} if "id" in old else {}
    kept = {key: value for key, value in node.items() if key != "id"}
    inputs = [{**slot, "link": None} for slot in node["inputs"]]
    return {**numbered, **kept, "inputs": inputs, "outputs": [{**slot, "links": []} for slot in node["outputs"]]}
