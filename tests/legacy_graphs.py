"""Graphs of old nodes as their users have them, in both formats, built from the table of old nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pack.ipadapter.legacy.migration.first_nodes import EARLIEST_ENCODER
from pack.ipadapter.legacy.migration.first_rules import FIRST_RULES
from pack.ipadapter.legacy.migration.forms import Form, outputs, sockets
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from pack.ipadapter.legacy.migration.new_nodes import NEW_FORMS

ADAPTER_FILE, EMBEDS_FILE = "ip-adapter_test.safetensors", "kept.ipadpt"
FILES = {"ipadapter_file": ADAPTER_FILE, "embeds": EMBEDS_FILE}

FIRST_FORMS = {  # of the old pack's first version, each id in its last form
    **{form.id: form for rule in FIRST_RULES for form in [rule.legacy_form] if form is not EARLIEST_ENCODER},
    **{kind: LEGACY_FORMS[kind] for kind in ("IPAdapterModelLoader", "PrepImageForClipVision")},
    **{kind: LEGACY_FORMS[kind] for kind in ("IPAdapterSaveEmbeds", "IPAdapterLoadEmbeds")},
}

KINDS = ("MODEL", "IMAGE", "MASK", "CLIP_VISION", "CONDITIONING")
TEST_FORMS = {f"Test{kind}": Form(f"Test{kind}", outputs=outputs(f"made:{kind}")) for kind in KINDS}
SINK = "TestSink"
MAKERS = {
    "IPADAPTER": ("IPAdapterModelLoader", 0),
    "EMBEDS": ("IPAdapterEncoder", 0),
    "IPADAPTER_PARAMS": ("IPAdapterRegionalConditioning", 0),
    "WEIGHTS_STRATEGY": ("IPAdapterWeights", 5),
    "INSIGHTFACE": ("IPAdapterInsightFaceLoader", 0),
}


FIRST_MAKERS = {**MAKERS, "INSIGHTFACE": ("InsightFaceLoader", 0)}


def form_of(kind: str, forms: Mapping[str, Form] = LEGACY_FORMS) -> Form:
    """What a class of such a graph looks like."""
    return {**forms, **NEW_FORMS, **TEST_FORMS}.get(kind) or Form(kind, sockets("any:*"))


@dataclass
class LegacyGraph:
    """Nodes by number: class, values, and links as number and slot."""

    nodes: dict[int, tuple[str, dict[str, Any], dict[str, tuple[int, int]]]] = field(default_factory=dict)
    forms: Mapping[str, Form] = field(default_factory=lambda: LEGACY_FORMS)
    makers: Mapping[str, tuple[str, int]] = field(default_factory=lambda: MAKERS)

    def form_of(self, kind: str) -> Form:
        """What a class of this graph looks like."""
        return form_of(kind, self.forms)

    def add(self, kind: str, links: Mapping[str, tuple[int, int]] | None = None, **values: Any) -> int:
        """A node; its number."""
        number = len(self.nodes) + 1
        self.nodes[number] = (kind, dict(values), dict(links or {}))
        return number

    def made(self, kind: str) -> tuple[int, int]:
        """An output of a type, from the node that makes it."""
        maker, slot = self.makers.get(kind, (f"Test{kind}", 0))
        known = next((number for number, (name, _, _) in self.nodes.items() if name == maker), None)
        return (known or self.add_legacy(maker), slot)

    def add_legacy(self, kind: str, optional: bool = True, **values: Any) -> int:
        """A node with its defaults and everything it needs linked to it."""
        form = self.form_of(kind)
        links = {socket.name: self.made(socket.kind) for socket in form.sockets if optional or not socket.optional}
        files = {name: file for name, file in FILES.items() if name in form.defaults}
        return self.add(kind, links, **{**form.defaults, **files, **values})

    @property
    def api(self) -> dict[str, Any]:
        """As the server's API takes it."""
        return {
            str(number): {
                "class_type": kind,
                "inputs": {**values, **{name: [str(node), slot] for name, (node, slot) in links.items()}},
                "_meta": {"title": kind},
            }
            for number, (kind, values, links) in self.nodes.items()
        }

    @property
    def ui(self) -> dict[str, Any]:
        """As the front end saves it."""
        rows = list(self.rows())
        return {
            "last_node_id": len(self.nodes),
            "last_link_id": len(rows),
            "nodes": [self.ui_node(number, rows) for number in self.nodes],
            "links": rows,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }

    def rows(self) -> Iterator[list[Any]]:
        """Every link."""
        number = 0
        for target, (_, _, links) in self.nodes.items():
            for slot, name in enumerate(self.shown(target)):
                if name in links:
                    number += 1
                    source, source_slot = links[name]
                    kind = self.form_of(self.nodes[source][0]).outputs[source_slot].kind
                    yield [number, source, source_slot, target, slot, kind]

    def shown(self, number: int) -> list[str]:
        """Inputs that a node has in the front end: all sockets, and widgets that are linked."""
        kind, _, links = self.nodes[number]
        form = self.form_of(kind)
        return [socket.name for socket in form.sockets] + [name for name in form.defaults if name in links]

    def ui_node(self, number: int, rows: list[list[Any]]) -> dict[str, Any]:
        kind, values, links = self.nodes[number]
        form = self.form_of(kind)
        into = {row[4]: row[0] for row in rows if row[3] == number}
        return {
            "id": number,
            "type": kind,
            "pos": [number * 100, 40],
            "size": {"0": 315, "1": 200},
            "flags": {},
            "order": number,
            "mode": 0,
            "inputs": [
                {
                    "name": name,
                    "type": form.kind_of(name),
                    "link": into.get(slot),
                    **({"widget": {"name": name}} if name in form.defaults else {}),
                }
                for slot, name in enumerate(self.shown(number))
            ],
            "outputs": [
                {
                    "name": output.name,
                    "type": output.kind,
                    "links": [row[0] for row in rows if (row[1], row[2]) == (number, slot)] or None,
                }
                for slot, output in enumerate(form.outputs)
            ],
            "properties": {"Node name for S&R": kind, "cnr_id": "comfyui_ipadapter_plus", "ver": "1.0"},
            "widgets_values": [values.get(name, form.defaults[name]) for name in form.defaults],
            "color": "#432",
        }


def graph_of(kind: str, optional: bool = True, **values: Any) -> LegacyGraph:
    """One old node with all that it needs, each of its outputs looked at."""
    return looked_at(LegacyGraph(), kind, optional, **values)


def first_graph_of(kind: str, optional: bool = True, **values: Any) -> LegacyGraph:
    """The same of a node of the old pack's first version."""
    return looked_at(LegacyGraph(forms=FIRST_FORMS, makers=FIRST_MAKERS), kind, optional, **values)


def looked_at(graph: LegacyGraph, kind: str, optional: bool, **values: Any) -> LegacyGraph:
    """A graph with one more node, each of its outputs looked at."""
    number = graph.add_legacy(kind, optional, **values)
    for slot, _ in enumerate(graph.form_of(kind).outputs):
        graph.add(SINK, {"any": (number, slot)})
    return graph


def to_prompt(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """A migrated workflow as the front end would send it."""
    links = {row[0]: [str(row[1]), row[2]] for row in workflow["links"]}
    return {str(node["id"]): prompt_node(node, links) for node in workflow["nodes"]}


def prompt_node(node: Mapping[str, Any], links: Mapping[int, list[Any]]) -> dict[str, Any]:
    slots = form_of(node["type"]).widget_slots
    values = {name: value for name, value in zip(slots, node["widgets_values"], strict=True) if name is not None}
    linked = {slot["name"]: links[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
    return {"class_type": node["type"], "inputs": {**values, **linked}}


def faults(workflow: Mapping[str, Any]) -> list[str]:
    """What is wrong with a workflow's links: both ends must name each, with one type."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    rows = {row[0]: row for row in workflow["links"]}
    found = []
    for number, source, slot, target, into, kind in rows.values():
        output, wanted = nodes[source]["outputs"][slot], nodes[target]["inputs"][into]
        if number not in (output["links"] or ()) or wanted["link"] != number:
            found.append(f"link {number} is not named at both ends")
        if kind != output["type"] or wanted["type"] not in (kind, "*"):
            found.append(f"link {number} is {kind} from {output['type']} to {wanted['type']}")
    named = [slot["link"] for node in nodes.values() for slot in node["inputs"] if slot["link"] is not None]
    named += [link for node in nodes.values() for output in node["outputs"] for link in output["links"] or ()]
    return found + [f"link {number} is named and not there" for number in named if number not in rows]
