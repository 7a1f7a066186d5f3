"""The subgraph blueprint **Image prompt**: a whole image prompt as one node, offered among the front end's nodes.

Inside stand Find IP-Adapter, Encode Image Prompt and Apply IP-Adapter; outside there are a model, an image, a preset
and a weight. ComfyUI serves `subgraphs/NAME.json` of every pack under the name of the file.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools.environment import LAYOUT

from .formats import FRONT_END, PACK, Json, properties, ui_input, widget_values
from .graph import Inputs, Node, Output, links_of
from .schema import NodeSchema, Schemas

NAME = "Image prompt"
BLUEPRINT = LAYOUT.root / "subgraphs" / f"{NAME}.json"
ABOUT = "An image as a prompt: finds the IP-Adapter and the image encoder for the model, and applies them."
ALIASES = ["ip adapter", "ipadapter", "IPAdapter", "reference image", "image prompt"]
INPUT, OUTPUT = -10, -20  # the numbers of a subgraph's own ends
WIDTH, HEIGHT, APART, INPUT_X = 300, 260, 380, -220


@dataclass(frozen=True)
class Port:
    """An input of the subgraph, and the input inside that it is."""

    name: str
    kind: str
    node: Node
    is_widget: bool = False


@dataclass(frozen=True)
class Inside:
    """The nodes of the subgraph in the order in which they run, its inputs, and the output inside that it gives."""

    nodes: tuple[Node, ...]
    ports: tuple[Port, ...]
    result: Output
    result_kind: str


def image_prompt() -> Inside:
    found = Node("FindIPAdapter")
    prompt = Node("EncodeImagePrompt", {"clip_vision": found["clip_vision"]})
    linked: Inputs = {name: found[name] for name in ("model", "ip_adapter")}
    applied = Node("ApplyIPAdapter", {**linked, "image_prompt": prompt["image_prompt"]})
    ports = (
        Port("model", "MODEL", found),
        Port("image", "IMAGE", prompt),
        Port("preset", "COMBO", found, is_widget=True),
        Port("weight", "FLOAT", applied, is_widget=True),
    )
    return Inside((found, prompt, applied), ports, applied["model"], "MODEL")


@dataclass(frozen=True)
class Wire:
    """A link of the subgraph. A widget that the subgraph has for itself comes after a node's sockets."""

    number: int
    origin: int
    origin_slot: int
    target: int
    target_name: str
    kind: str


def wires(inside: Inside, schemas: Schemas) -> Iterator[Wire]:
    numbers = {node: number for number, node in enumerate(inside.nodes, start=1)}
    count = 0
    for slot, port in enumerate(inside.ports):
        count += 1
        yield Wire(count, INPUT, slot, numbers[port.node], port.name, port.kind)
    for node, target in numbers.items():
        for name, output in links_of(node):
            count += 1
            schema = schemas[output.node.class_type]
            slot = schema.output_slot(output.name)
            yield Wire(count, numbers[output.node], slot, target, name, schema.outputs[slot].kind)
    slot = schemas[inside.result.node.class_type].output_slot(inside.result.name)
    yield Wire(count + 1, numbers[inside.result.node], slot, OUTPUT, inside.result.name, inside.result_kind)


def names_in(node: Node, schema: NodeSchema, ports: tuple[Port, ...]) -> list[str]:
    """A node's inputs as they are numbered: sockets, then the widgets that the subgraph has for itself."""
    outside = [port.name for port in ports if port.node is node and port.is_widget]
    return [*(one.name for one in schema.sockets), *outside]


def row(wire: Wire, slots: Mapping[int, list[str]]) -> Json:
    slot = slots[wire.target].index(wire.target_name) if wire.target in slots else 0
    ends = {"origin_id": wire.origin, "origin_slot": wire.origin_slot, "target_id": wire.target, "target_slot": slot}
    return {"id": wire.number, **ends, "type": wire.kind}


def inner_node(inside: Inside, number: int, schemas: Schemas, links: tuple[Wire, ...], version: str) -> Json:
    node = inside.nodes[number - 1]
    schema = schemas[node.class_type]
    into = {wire.target_name: wire.number for wire in links if wire.target == number}
    sockets = [ui_input(one, into.get(one.name)) for one in schema.sockets]
    widgets = [port_input(port, into[port.name]) for port in inside.ports if port.node is node and port.is_widget]
    outputs = [
        {"name": one.name, "type": one.kind, "links": leaving(links, number, slot)}
        for slot, one in enumerate(schema.outputs)
    ]
    return {
        "id": number,
        "type": node.class_type,
        "pos": [(number - 1) * APART, 0],
        "size": [WIDTH, HEIGHT],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [*sockets, *widgets],
        "outputs": outputs,
        "properties": properties(node, schema, version),
        "widgets_values": list(widget_values(node, schema)),
    }


def leaving(links: tuple[Wire, ...], number: int, slot: int) -> list[int] | None:
    return [wire.number for wire in links if (wire.origin, wire.origin_slot) == (number, slot)] or None


def port_input(port: Port, link: int | None) -> Json:
    widget = {"widget": {"name": port.name}} if port.is_widget else {}
    return {"name": port.name, "type": port.kind, **widget, "link": link}


def identity(*parts: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((PACK, "subgraphs", NAME, *parts))))


def default_of(port: Port, schemas: Schemas) -> object:
    schema = schemas[port.node.class_type]
    values = dict(zip((one.name for one in schema.widgets), widget_values(port.node, schema), strict=True))
    return values[port.name]


def subgraph(inside: Inside, schemas: Schemas, version: str) -> Json:
    links = tuple(wires(inside, schemas))
    slots = {
        number: names_in(node, schemas[node.class_type], inside.ports) for number, node in enumerate(inside.nodes, 1)
    }
    inputs = [
        {"id": identity(port.name), "name": port.name, "type": port.kind, "linkIds": [number]}
        for number, port in enumerate(inside.ports, start=1)
    ]
    result = {"id": identity("result"), "name": inside.result.name, "type": inside.result_kind}
    return {
        "id": identity(),
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(slots), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": NAME,
        "inputNode": {"id": INPUT, "bounding": [INPUT_X, 0, 120, 120]},
        "outputNode": {"id": OUTPUT, "bounding": [len(slots) * APART, 0, 120, 60]},
        "inputs": inputs,
        "outputs": [{**result, "linkIds": [links[-1].number]}],
        "widgets": [],
        "nodes": [inner_node(inside, number, schemas, links, version) for number in slots],
        "groups": [],
        "links": [row(wire, slots) for wire in links],
        "extra": {"workflowRendererVersion": "LG"},
        "category": "IP-Adapter",
        "description": ABOUT,
    }


def outer_node(inside: Inside, schemas: Schemas) -> Json:
    widgets = [port for port in inside.ports if port.is_widget]
    return {
        "id": 1,
        "type": identity(),
        "pos": [0, 0],
        "size": [WIDTH, 150],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [port_input(port, None) for port in inside.ports],
        "outputs": [{"name": inside.result.name, "type": inside.result_kind, "links": None}],
        "title": NAME,
        "properties": {"proxyWidgets": [["-1", port.name] for port in widgets]},
        "widgets_values": [default_of(port, schemas) for port in widgets],
    }


def blueprint(schemas: Schemas, version: str) -> Json:
    """The file's content, as the front end publishes a subgraph. `version` is the pack's."""
    inside = image_prompt()
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [outer_node(inside, schemas)],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [subgraph(inside, schemas, version)]},
        "config": {},
        "extra": {
            "workflowRendererVersion": "LG",
            "frontendVersion": FRONT_END,
            "BlueprintDescription": ABOUT,
            "BlueprintSearchAliases": ALIASES,
        },
        "version": 0.4,
    }


def classes() -> set[str]:
    """The node classes inside."""
    return {node.class_type for node in image_prompt().nodes}
