"""Graphs as the front end saves them (version 0.4), their subgraphs included.

A link is a list [id, from node, slot, to node, slot, type], in subgraphs an object with these under names. Nodes -10
and -20 are a subgraph's own inputs and outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .forms import GraphJson, Socket, Value
from .moving import HANDED_ON, MayMove, always, left_behind, moving
from .recognise import CANDIDATES, OURS, Recognised, Shape, recognise
from .report import Change, describe_change, misfits, with_misfits
from .room import fit
from .rules import PACK_ID, RENAMED_KINDS, Chosen, MigrationRule

FIELDS = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
PASSING = ("Reroute", "PrimitiveNode", "SetNode", "GetNode", "Reroute (rgthree)")  # they have their neighbours' types
INSIDE_IN = -10
OPTIONAL_SHAPE = 7  # the socket of an optional input is drawn as a ring
CONTROL = "fixed"  # what becomes of a seed after a run
FOREIGN_IDS = ("aux_id", "ver")


def is_workflow(data: Any) -> bool:
    """Whether this is a graph as the front end saves it."""
    return isinstance(data, Mapping) and isinstance(data.get("nodes"), list) and isinstance(data.get("links"), list)


@dataclass
class Link:
    """A link, whichever way it is written."""

    row: Any

    def __getitem__(self, field: str) -> Any:
        return self.row[field] if isinstance(self.row, dict) else self.row[FIELDS.index(field)]

    def __setitem__(self, field: str, value: Any) -> None:
        self.row[field if isinstance(self.row, dict) else FIELDS.index(field)] = value


@dataclass
class Graph:
    """The workflow itself, or a subgraph of it, while it is changed."""

    content: GraphJson
    name: str = ""

    @property
    def id(self) -> Any:
        """Of a subgraph, the type of the nodes that stand for it."""
        return self.content.get("id")

    @property
    def nodes(self) -> list[GraphJson]:
        return [node for node in self.content.get("nodes", ()) if isinstance(node, dict)]

    @property
    def links(self) -> list[Link]:
        return [Link(row) for row in self.content.get("links", ()) if isinstance(row, (dict, list))]

    def node(self, number: Any) -> GraphJson | None:
        """A node by its id."""
        return next((node for node in self.nodes if node.get("id") == number), None)

    def source_links(self, link: Link) -> list[Any] | None:
        """The list in which a link's origin names it."""
        if link["origin_id"] == INSIDE_IN:
            given: list[Any] | None = entry(self.content.get("inputs"), link["origin_slot"], "linkIds")
            return given
        node = self.node(link["origin_id"])
        return None if node is None else entry(node.get("outputs"), link["origin_slot"], "links")

    def cut(self, number: Any) -> None:
        """Take a link out, at both ends and where it is listed."""
        for link in self.links:
            if link["id"] == number:
                named = self.source_links(link)
                if named is not None and number in named:
                    named.remove(number)
        self.content["links"] = [row for row in self.content["links"] if Link(row)["id"] != number]


def entry(slots: Any, index: int, key: str) -> Any:
    """A value of a numbered slot, where there is such a slot."""
    return slots[index].get(key) if isinstance(slots, list) and index < len(slots) else None


@dataclass(frozen=True)
class Moved:
    """One node that was replaced: where, by which rule, and what there is to say of it."""

    graph: Graph
    rule: MigrationRule
    change: Change


def migrate_workflow(
    workflow: GraphJson, may_move: MayMove = always
) -> tuple[GraphJson, tuple[Change, ...], tuple[str, ...]]:
    """A workflow with its old nodes replaced, what was changed, and warnings. The one given stays as it is."""
    made = copy.deepcopy(workflow)
    graphs = graphs_of(made)
    warnings: list[str] = []
    moved = [one for graph in graphs for one in migrate_ui_graph(graph, warnings, may_move)]
    warnings += legacy_groups(made)
    if moved:
        passing = {*PASSING, *(graph.id for graph in graphs[1:])}
        for graph in graphs:
            retype(graph, passing)
            warnings += foreign_ends(graph, passing)
        rename_proxies(graphs, {(one.graph.id, one.change.node): one.rule for one in moved})
    return made, tuple(one.change for one in moved), tuple(warnings)


def graphs_of(workflow: GraphJson) -> list[Graph]:
    """The workflow itself and its subgraphs."""
    subgraphs = (workflow.get("definitions") or workflow).get("subgraphs") or []
    return [Graph(workflow), *(Graph(one, str(one.get("name") or one.get("id"))) for one in subgraphs)]


def migrate_ui_graph(graph: Graph, warnings: list[str], may_move: MayMove) -> Iterator[Moved]:
    """Replace the old nodes of one graph, as far as they can be; a warning for each that stays."""
    nodes = graph.nodes
    told = ((place, recognise_ui_node(node)) for place, node in enumerate(nodes))
    found = {place: one for place, one in told if one is not None}
    places = {node.get("id"): place for place, node in enumerate(nodes)}
    ends = ((link["origin_id"], link["target_id"]) for link in graph.links if link["type"] in HANDED_ON)
    pairs = [(places.get(one, -1), places.get(other, -1)) for one, other in ends]
    rules = moving(found, pairs, may_move)
    warnings += [f"node {nodes[place].get('id')} {why}" for place, why in left_behind(found, pairs)]
    for place, rule in rules.items():
        yield Moved(graph, rule, replace(migrate_ui_node(graph, nodes[place], rule), subgraph=graph.name))


def recognise_ui_node(node: GraphJson) -> Recognised | None:
    """What of the old pack a node is. Values that have names tell as inputs do."""
    names = {slot.get("name") for slot in node.get("inputs") or ()}
    given = node.get("widgets_values") or ()
    named = isinstance(given, dict)
    return recognise(str(node.get("type")), Shape({*names, *given} if named else names, 0 if named else len(given)))


def migrate_ui_node(graph: Graph, node: GraphJson, rule: MigrationRule) -> Change:
    """Replace one node in place: its id, its place and its links stay."""
    linked = {slot["name"]: slot for slot in node.get("inputs") or () if slot.get("link") is not None}
    values = widget_values(node, rule)
    change = describe_change(rule, str(node.get("id")), str(node.get("title") or ""), Chosen(values, linked))
    change = with_values_left(with_odd_values(change, rule, values, linked), node, rule)
    untold = rule.untold(linked)
    for name in [name for name in linked if name in untold or name not in rule.inputs]:
        graph.cut(linked.pop(name)["link"])
    made = new_values(rule, values)
    node["type"] = rule.new
    node["inputs"] = list(new_inputs(rule, linked))
    node["outputs"] = list(new_outputs(rule, node.get("outputs") or []))
    node["properties"] = new_properties(rule, node.get("properties") or {})
    node["widgets_values"] = [CONTROL if name is None else made[name] for name in rule.new_form.widget_slots]
    fit(node, rule)
    renumber(graph, node)
    rename_primitives(graph, node)
    return change


def carried_values(rule: MigrationRule, values: Mapping[str, Value]) -> dict[str, Value]:
    """Values of the new widgets that the old ones give, whether they fit or not."""
    return {rule.inputs[name]: rule.translate(name, value) for name, value in values.items() if name in rule.inputs}


def new_values(rule: MigrationRule, values: Mapping[str, Value]) -> dict[str, Value]:
    """Values of all new widgets; the usual one in the place of one that does not fit."""
    carried = carried_values(rule, values)
    odd = {widget.name for widget in misfits(rule.new_form, carried)}
    fitting = {name: value for name, value in carried.items() if name not in odd}
    return {**rule.new_form.defaults, **rule.filled, **fitting}


def with_odd_values(
    change: Change, rule: MigrationRule, values: Mapping[str, Value], linked: Mapping[str, GraphJson]
) -> Change:
    """With a note for every value that does not fit and is not hidden behind a link."""
    seen = carried_values(rule, {name: value for name, value in values.items() if name not in linked})
    return with_misfits(change, rule, seen, "the usual value is written in its place.")


def with_values_left(change: Change, node: GraphJson, rule: MigrationRule) -> Change:
    """With a note of values that no widget of the old node had."""
    given, slots = node.get("widgets_values"), rule.legacy_form.widget_slots
    left = given[len(slots) :] if isinstance(given, list) else ()
    if not left:
        return change
    said = ", ".join(repr(value) for value in left)
    return replace(change, notes=(*change.notes, f"{rule.legacy} had no widget for its last value(s): {said}."))


def widget_values(node: GraphJson, rule: MigrationRule) -> dict[str, Value]:
    """Values by name. A node saved before a widget was added has its default."""
    given = node.get("widgets_values")
    named = given if isinstance(given, dict) else dict(zip(rule.legacy_form.widget_slots, given or (), strict=False))
    known = {name: value for name, value in named.items() if name in rule.legacy_form.defaults and value is not None}
    return {**rule.legacy_form.defaults, **known}


def new_inputs(rule: MigrationRule, linked: Mapping[str, GraphJson]) -> Iterator[GraphJson]:
    """All sockets, then the widgets that have a link."""
    legacy_names = {new: old for old, new in rule.inputs.items()}
    for socket in rule.new_form.sockets:
        yield new_input(socket, linked.get(legacy_names.get(socket.name, "")))
    for widget in rule.new_form.widgets:
        slot = linked.get(legacy_names.get(widget.name, ""))
        if slot is not None:
            yield {**new_input(Socket(widget.name, widget.kind), slot), "widget": {"name": widget.name}}


def new_input(socket: Socket, slot: GraphJson | None) -> GraphJson:
    """One input, with what the user has written on the old one."""
    kept = {key: value for key, value in (slot or {}).items() if key in ("label", "link")}
    shape = {"shape": OPTIONAL_SHAPE} if socket.optional else {}
    return {"name": socket.name, **shape, "type": socket.kind, "link": None, **kept}


def new_outputs(rule: MigrationRule, old: list[GraphJson]) -> Iterator[GraphJson]:
    """The old outputs under their new names and types, then those that only the new node has."""
    for index, output in enumerate(rule.new_form.outputs):
        kept = old[index] if index < len(old) else {"links": None}
        plain = {key: value for key, value in kept.items() if key not in ("name", "type", "localized_name")}
        yield {"name": output.name, "type": output.kind, **plain}


def new_properties(rule: MigrationRule, old: Mapping[str, Any]) -> GraphJson:
    """What tells the front end which pack a node is of."""
    kept = {key: value for key, value in old.items() if key not in FOREIGN_IDS}
    return {**kept, "cnr_id": PACK_ID, "Node name for S&R": rule.new}


def renumber(graph: Graph, node: GraphJson) -> None:
    """Links into a node end at the slots their inputs have now."""
    slots = {slot["link"]: index for index, slot in enumerate(node["inputs"]) if slot["link"] is not None}
    for link in graph.links:
        if link["id"] in slots and link["target_id"] == node["id"]:
            link["target_slot"] = slots[link["id"]]


def rename_primitives(graph: Graph, node: GraphJson) -> None:
    """A primitive node names the widget it is linked to."""
    names = {slot["link"]: slot["name"] for slot in node["inputs"] if "widget" in slot}
    for link in graph.links:
        origin = graph.node(link["origin_id"]) if link["id"] in names else None
        widget = entry((origin or {}).get("outputs"), link["origin_slot"], "widget")
        if origin is not None and origin.get("type") == "PrimitiveNode" and isinstance(widget, dict):
            widget["name"] = names[link["id"]]


def retype(graph: Graph, passing: set[Any]) -> None:
    """The types that are called otherwise here, on nodes that pass them on and on links."""
    between = [node for node in graph.nodes if node.get("type") in passing]
    slots = [slot for node in between for key in ("inputs", "outputs") for slot in node.get(key) or ()]
    if graph.name:
        slots += [slot for key in ("inputs", "outputs") for slot in graph.content.get(key) or ()]
    for slot in slots:
        if slot.get("type") in RENAMED_KINDS:
            rename_slot(slot)
    for link in graph.links:
        if link["type"] in RENAMED_KINDS and origin_kind(graph, link) != link["type"]:
            link["type"] = RENAMED_KINDS[link["type"]]


def rename_slot(slot: GraphJson) -> None:
    """A slot's type, and its name where that is the type."""
    new = RENAMED_KINDS[slot["type"]]
    if slot.get("name") == slot["type"]:
        slot["name"] = new
    slot["type"] = new


def origin_kind(graph: Graph, link: Link) -> Any:
    """The type of the output a link comes from."""
    inside = link["origin_id"] == INSIDE_IN
    slots = graph.content.get("inputs") if inside else (graph.node(link["origin_id"]) or {}).get("outputs")
    return entry(slots, link["origin_slot"], "type")


def foreign_ends(graph: Graph, passing: set[Any]) -> Iterator[str]:
    """Links between a node of another pack and one of this, which cannot pass anything on."""
    known = OURS | passing
    for link in graph.links:
        origin, target = graph.node(link["origin_id"]) or {}, graph.node(link["target_id"]) or {}
        for one, other in ((origin, target), (target, origin)):
            wanted = link["type"] in (*RENAMED_KINDS, *RENAMED_KINDS.values())
            if wanted and one.get("type") in OURS and other and other.get("type") not in known:
                yield (
                    f"node {other.get('id')} ({other.get('type')}) is of another pack and is linked to node "
                    f"{one.get('id')} ({one.get('type')}): the two do not understand each other, so replace it."
                )


def legacy_groups(workflow: GraphJson) -> Iterator[str]:
    """A warning for each group node that holds old nodes: it is a form the front end has given up."""
    groups = (workflow.get("extra") or {}).get("groupNodes") or {}
    for name, group in groups.items():
        if any(node.get("type") in CANDIDATES for node in group.get("nodes") or ()):
            yield f"group node '{name}' holds old nodes: ungroup it, or make it a subgraph, save, and run this again."


def rename_proxies(graphs: list[Graph], rules: Mapping[tuple[Any, str], MigrationRule]) -> None:
    """Widgets of inner nodes that a subgraph shows, under their new names. Rules by subgraph and inner node."""
    for node in (node for graph in graphs for node in graph.nodes):
        for proxy in (node.get("properties") or {}).get("proxyWidgets") or []:
            rule = rules.get((node.get("type"), str(proxy[0])))
            if rule is not None:
                proxy[1] = rule.inputs.get(proxy[1], proxy[1])
