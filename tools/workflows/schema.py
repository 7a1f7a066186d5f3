"""Node classes as the server describes them in /object_info: order, slots and widgets of their inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
GROWING = "COMFY_AUTOGROW_V3"  # an input that stands for a row of sockets, as many as are in use and one more
PACKS = "custom_nodes."


class WorkflowError(Exception):
    """A workflow cannot be written as declared; the message says which node and input, and what there is."""


@dataclass(frozen=True)
class Input:
    """One input of a node class. `is_widget`: the front end shows a widget for it, and no bare socket."""

    name: str
    kind: str
    optional: bool
    options: Mapping[str, Any]
    grows: bool = False  # one of a growing row

    @property
    def is_widget(self) -> bool:
        return self.kind in WIDGET_TYPES and not self.options.get("forceInput")

    @property
    def has_control(self) -> bool:
        """Whether the front end adds a widget that says what becomes of the value after a run."""
        return bool(self.options.get("control_after_generate"))

    @property
    def has_upload(self) -> bool:
        """Whether the front end adds a button for uploading an image."""
        return bool(self.options.get("image_upload"))


@dataclass(frozen=True)
class Output:
    """One output of a node class."""

    name: str
    kind: str


@dataclass(frozen=True)
class NodeSchema:
    """One node class, inputs in the order in which the server lists them."""

    class_type: str
    display_name: str
    is_core: bool
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

    @property
    def sockets(self) -> tuple[Input, ...]:
        return tuple(one for one in self.inputs if not one.is_widget)

    @property
    def widgets(self) -> tuple[Input, ...]:
        return tuple(one for one in self.inputs if one.is_widget)

    def sockets_shown(self, linked: Collection[str]) -> tuple[Input, ...]:
        """The sockets of a node with these inputs linked; of a growing row those and the next."""
        following = next((one for one in self.sockets if one.grows and one.name not in linked), None)
        return tuple(one for one in self.sockets if not one.grows or one.name in linked or one is following)

    def output_slot(self, name: str) -> int:
        names = [output.name for output in self.outputs]
        if name not in names:
            raise WorkflowError(f"{self.class_type} has no output {name!r}: it has {', '.join(names) or 'none'}.")
        return names.index(name)


Schemas = Mapping[str, NodeSchema]


def read_input(name: str, spec: list[Any], optional: bool) -> Iterator[Input]:
    """A spec is [type, options], where a list in place of the type holds a combo's choices."""
    if spec[0] == GROWING:
        yield from read_row(name, spec[1]["template"])
        return
    kind = "COMBO" if isinstance(spec[0], list) else spec[0]
    yield Input(name, kind, optional, spec[1] if len(spec) > 1 else {})


def read_row(name: str, template: Mapping[str, Any]) -> Iterator[Input]:
    """Every socket that a growing row can have."""
    ((kind, *_),) = template["input"]["required"].values()
    for index in range(template["max"]):
        yield Input(f"{name}.{template['prefix']}{index}", kind, index >= template["min"], {}, grows=True)


def read_schema(class_type: str, info: Mapping[str, Any]) -> NodeSchema:
    groups = [(group, group == "optional") for group in ("required", "optional")]
    inputs = [
        one
        for group, optional in groups
        for name in info["input_order"].get(group, ())
        for one in read_input(name, info["input"][group][name], optional)
    ]
    return NodeSchema(
        class_type,
        info["display_name"] or class_type,
        not info["python_module"].startswith(PACKS),
        tuple(inputs),
        tuple(Output(name, kind) for name, kind in zip(info["output_name"], info["output"], strict=True)),
    )


def read_schemas(object_info: Mapping[str, Mapping[str, Any]], class_types: Iterable[str]) -> Schemas:
    """The schemas of these classes. Raise WorkflowError naming those the server does not know."""
    wanted = sorted(set(class_types))
    unknown = [name for name in wanted if name not in object_info]
    if unknown:
        raise WorkflowError(f"The server has no node class {', '.join(unknown)}: is the pack loaded?")
    return {name: read_schema(name, object_info[name]) for name in wanted}
