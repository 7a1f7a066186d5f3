"""The two ways a workflow is written down: as the front end saves it, and as the server's API takes it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import chinese
from .graph import ModelFile, Node, Output, Value, Workflow, links_of
from .layout import Box, Placed, View, place
from .schema import Input, NodeSchema, Schemas, WorkflowError

Json = dict[str, Any]

CORE, PACK = ("comfy-core", "0.30.0"), "image-prompt-adapter"
FRONT_END = "1.47.12"
GROUP_COLOR = "#3f789e"
ABOUT = "About this workflow"
NOTE_COLORS = {"color": "#432", "bgcolor": "#653"}
OPTIONAL_SHAPE = 7  # the socket of an optional input is drawn as a ring


@dataclass(frozen=True)
class Link:
    """A link between two nodes, each by number and slot."""

    number: int
    source: int
    source_slot: int
    target: int
    target_slot: int
    kind: str

    @property
    def row(self) -> list[int | str]:
        return [self.number, self.source, self.source_slot, self.target, self.target_slot, self.kind]


@dataclass(frozen=True)
class Numbered:
    """A workflow whose note is node 1 and whose nodes and links have numbers."""

    workflow: Workflow
    schemas: Schemas
    numbers: Mapping[Node, int]
    links: tuple[Link, ...]

    def schema(self, node: Node) -> NodeSchema:
        return self.schemas[node.class_type]

    def into(self, node: Node) -> dict[int, int]:
        """Input slot -> link number."""
        return {link.target_slot: link.number for link in self.links if link.target == self.numbers[node]}

    def out_of(self, node: Node, slot: int) -> list[int]:
        source = (self.numbers[node], slot)
        return [link.number for link in self.links if (link.source, link.source_slot) == source]


def check_inputs(node: Node, schema: NodeSchema) -> None:
    """Raise WorkflowError where the inputs given are not those that the class has and needs."""
    sockets, widgets = ({one.name for one in group} for group in (schema.sockets, schema.widgets))
    linked = {name for name, _ in links_of(node)}
    needed = {one.name for one in schema.sockets if not one.optional}
    faults = (
        ("has no socket", linked - sockets),
        ("has no widget", node.inputs.keys() - linked - widgets),
        ("needs a link to", needed - linked),
    )
    for fault, names in faults:
        if names:
            raise WorkflowError(f"{node.class_type} {fault} {', '.join(sorted(names))}.")


def trace_links(nodes: Mapping[Node, int], schemas: Schemas) -> Iterator[Link]:
    number = 0
    for node, target in nodes.items():
        order = [one.name for one in schemas[node.class_type].sockets]
        for name, output in sorted(links_of(node), key=lambda link: order.index(link[0])):
            number += 1
            source = schemas[output.node.class_type]
            slot = source.output_slot(output.name)
            yield Link(number, nodes[output.node], slot, target, order.index(name), source.outputs[slot].kind)


def number(workflow: Workflow, schemas: Schemas) -> Numbered:
    for node in workflow.nodes:
        check_inputs(node, schemas[node.class_type])
    numbers = {node: index for index, node in enumerate(workflow.nodes, start=2)}
    return Numbered(workflow, schemas, numbers, tuple(trace_links(numbers, schemas)))


def value_of(node: Node, widget: Input) -> Value:
    """A widget's value: the declared one, else its default."""
    value = node.inputs.get(widget.name, widget.options.get("default"))
    if value is None or isinstance(value, Output):
        raise WorkflowError(f"{node.class_type} needs a value for {widget.name}.")
    return whole(value)


def whole(value: Value) -> Value:
    """The front end's numbers are all of one kind, so it writes 1.0 as 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def to_prompt(workflow: Workflow, schemas: Schemas) -> Json:
    """The graph as POST /prompt takes it."""
    graph = number(workflow, schemas)
    return {str(graph.numbers[node]): prompt_node(node, graph) for node in workflow.nodes}


def prompt_node(node: Node, graph: Numbered) -> Json:
    schema = graph.schema(node)
    values = {widget.name: value_of(node, widget) for widget in schema.widgets}
    links = {name: prompt_link(output, graph) for name, output in links_of(node)}
    title = node.title or schema.display_name
    return {"inputs": {**values, **links}, "class_type": node.class_type, "_meta": {"title": title}}


def prompt_link(output: Output, graph: Numbered) -> list[str | int]:
    return [str(graph.numbers[output.node]), graph.schema(output.node).output_slot(output.name)]


def to_ui(workflow: Workflow, schemas: Schemas, version: str) -> Json:
    """The graph as the front end saves it. `version` is the pack's."""
    graph = number(workflow, schemas)
    placed = place(workflow, schemas)
    orders = run_orders(graph)
    nodes = [ui_node(node, graph, placed.nodes[node], orders[graph.numbers[node]], version) for node in workflow.nodes]
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PACK}/{workflow.name}")),
        "revision": 0,
        "last_node_id": len(nodes) + 1,
        "last_link_id": len(graph.links),
        "nodes": [ui_note(workflow, placed.note), *nodes],
        "links": [link.row for link in graph.links],
        "groups": ui_groups(placed),
        "config": {},
        "extra": ui_extra(placed.view) | {"languages": {"zh": in_chinese(workflow)}},
        "version": 0.4,
    }


def ui_node(node: Node, graph: Numbered, box: Box, order: int, version: str) -> Json:
    schema = graph.schema(node)
    return {
        "id": graph.numbers[node],
        "type": node.class_type,
        "pos": box.pos,
        "size": box.size,
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": ui_inputs(node, graph),
        "outputs": ui_outputs(node, graph),
        **({"title": node.title} if node.title else {}),
        "properties": properties(node, schema, version),
        "widgets_values": list(widget_values(node, schema)),
    }


def ui_inputs(node: Node, graph: Numbered) -> list[Json]:
    linked = graph.into(node)
    sockets = graph.schema(node).sockets_shown({name for name, _ in links_of(node)})
    return [ui_input(one, linked.get(slot)) for slot, one in enumerate(sockets)]


def ui_input(one: Input, link: int | None) -> Json:
    shape = {"shape": OPTIONAL_SHAPE} if one.optional else {}
    return {"name": one.name, **shape, "type": one.kind, "link": link}


def ui_outputs(node: Node, graph: Numbered) -> list[Json]:
    outputs = enumerate(graph.schema(node).outputs)
    return [{"name": one.name, "type": one.kind, "links": graph.out_of(node, slot) or None} for slot, one in outputs]


def widget_values(node: Node, schema: NodeSchema) -> Iterator[Value | None]:
    """Every widget's value in order, those that the front end adds by itself included.

    No picture is named: the front end takes the first that the user has, and complains of none that they have not.
    """
    for widget in schema.widgets:
        yield None if widget.has_upload else value_of(node, widget)
        if widget.has_control:
            yield node.after_run
    if any(widget.has_upload for widget in schema.widgets):
        yield "image"


def properties(node: Node, schema: NodeSchema, version: str) -> Json:
    """What tells the front end which pack and which files a node needs."""
    pack, pack_version = CORE if schema.is_core else (PACK, version)
    models = [model_property(model) for model in node.models]
    return {
        "Node name for S&R": node.class_type,
        "cnr_id": pack,
        "ver": pack_version,
        **({"models": models} if models else {}),
    }


def model_property(model: ModelFile) -> Json:
    return {"name": model.name, "url": model.url, "directory": model.directory}


def ui_note(workflow: Workflow, box: Box) -> Json:
    return {
        "id": 1,
        "type": "MarkdownNote",
        "pos": box.pos,
        "size": box.size,
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": ABOUT,
        "properties": {},
        "widgets_values": [workflow.note.text(workflow.models)],
        **NOTE_COLORS,
    }


def in_chinese(workflow: Workflow) -> Json:
    """What web/js/language.js writes in place of the English words."""
    blocks = (block.title for column in workflow.columns for block in column.blocks)
    titles = dict.fromkeys((ABOUT, *blocks, *(node.title for node in workflow.nodes if node.title)))
    note = chinese.NOTES[workflow.name].text(workflow.models, chinese.HEADINGS)
    return {"note": note, "titles": {title: chinese.TITLES[title] for title in titles}}


def ui_extra(view: View) -> Json:
    """How it was drawn, and where to look at it; `opens` tells web/js/opening_view.js that the view counts."""
    seen = {"scale": view.scale, "offset": [*view.offset]}
    return {"workflowRendererVersion": "LG", "frontendVersion": FRONT_END, "opens": PACK, "ds": seen}


def ui_groups(placed: Placed) -> list[Json]:
    return [
        {"id": index, "title": block.title, "bounding": [*box.pos, *box.size], "color": GROUP_COLOR, "flags": {}}
        for index, (block, box) in enumerate(placed.blocks, start=1)
    ]


def run_orders(graph: Numbered) -> dict[int, int]:
    """Each node's place in the order of execution, as the front end counts it: the note is 0, sources come first."""
    waiting = {node: len(graph.into(node)) for node in graph.workflow.nodes}
    ready = [node for node, links in waiting.items() if not links]
    by_number = {number: node for node, number in graph.numbers.items()}
    for node in ready:  # grows while it is walked
        for link in outgoing(node, graph):
            target = by_number[link.target]
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return {graph.numbers[node]: index for index, node in enumerate(ready, start=1)}


def outgoing(node: Node, graph: Numbered) -> list[Link]:
    """A node's links in the order of its outputs."""
    links = (link for link in graph.links if link.source == graph.numbers[node])
    return sorted(links, key=lambda link: (link.source_slot, link.number))
