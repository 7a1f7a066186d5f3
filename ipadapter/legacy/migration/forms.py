"""What a node class looks like to a graph: sockets, widgets and outputs by name, in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Value = str | int | float | bool
GraphJson = dict[str, Any]


@dataclass(frozen=True)
class Socket:
    """An input that only a link can fill."""

    name: str
    kind: str
    optional: bool = False


@dataclass(frozen=True)
class Widget:
    """An input with a value in the node. `control`: the front end keeps one more value behind it, as for a seed."""

    name: str
    kind: str
    default: Value
    options: tuple[str, ...] = ()  # of a COMBO, where they are known
    control: bool = False


@dataclass(frozen=True)
class Output:
    """An output."""

    name: str
    kind: str


@dataclass(frozen=True)
class Form:
    """One node class."""

    id: str
    sockets: tuple[Socket, ...] = ()
    widgets: tuple[Widget, ...] = ()
    outputs: tuple[Output, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all inputs."""
        return (*(socket.name for socket in self.sockets), *(widget.name for widget in self.widgets))

    @property
    def widget_slots(self) -> tuple[str | None, ...]:
        """What each of `widgets_values` belongs to; None is the front end's own, behind a seed."""
        return tuple(
            name for widget in self.widgets for name in ((widget.name, None) if widget.control else (widget.name,))
        )

    @property
    def defaults(self) -> dict[str, Value]:
        """Widget values where nothing was chosen."""
        return {widget.name: widget.default for widget in self.widgets}

    def kind_of(self, name: str) -> str:
        """Type of an input."""
        kinds = {socket.name: socket.kind for socket in self.sockets}
        return (kinds | {widget.name: widget.kind for widget in self.widgets})[name]


def by_id(*forms: Form) -> dict[str, Form]:
    """A table of forms."""
    return {form.id: form for form in forms}


def sockets(text: str, optional: bool = False) -> tuple[Socket, ...]:
    """`model:MODEL image:IMAGE` as sockets; a sign ? behind a type makes one optional."""
    pairs = [entry.split(":") for entry in text.split()]
    return tuple(Socket(name, kind.rstrip("?"), optional or kind.endswith("?")) for name, kind in pairs)


def outputs(text: str) -> tuple[Output, ...]:
    """`model:MODEL` as outputs."""
    return tuple(Output(*entry.split(":")) for entry in text.split())


def number(name: str, default: float) -> Widget:
    """A FLOAT."""
    return Widget(name, "FLOAT", default)


def whole(name: str, default: int, control: bool = False) -> Widget:
    """An INT."""
    return Widget(name, "INT", default, control=control)


def text(name: str, default: str = "") -> Widget:
    """A STRING."""
    return Widget(name, "STRING", default)


def switch(name: str, default: bool) -> Widget:
    """A BOOLEAN."""
    return Widget(name, "BOOLEAN", default)


def choice(name: str, options: tuple[str, ...], default: str | None = None) -> Widget:
    """A COMBO; without a default the first one is chosen."""
    return Widget(name, "COMBO", default if default is not None else options[0], options)


def file_choice(name: str) -> Widget:
    """A COMBO over files of a machine."""
    return Widget(name, "COMBO", "")
