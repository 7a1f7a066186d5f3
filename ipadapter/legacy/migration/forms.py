"""What a node class looks like to a graph: sockets, widgets and outputs by name, in their order."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

Value = str | int | float | bool
GraphJson = dict[str, Any]
WITHOUT_TYPE = "*"  # of a socket that takes anything


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
    low: float | None = None  # of a number, where it has an end
    high: float | None = None
    advanced: bool = False  # the front end hides it until it is asked for
    long: bool = False  # a text of several lines

    def takes(self, value: object) -> bool:
        """Whether it can have such a value. A whole number fits a FLOAT, and a number may be written as text."""
        return TAKES[self.kind](self, value)

    @property
    def range(self) -> str:
        """What it can have, in words."""
        if self.low is not None and self.high is not None:
            return f"a number from {self.low:g} to {self.high:g}"
        return RANGES[self.kind]


def takes_number(widget: Widget, value: object) -> bool:
    """Within the ends, as far as there are any."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return False
    low = -math.inf if widget.low is None else widget.low
    high = math.inf if widget.high is None else widget.high
    return math.isfinite(number) and low <= number <= high


def takes_option(widget: Widget, value: object) -> bool:
    """One of the options, where they are known."""
    return isinstance(value, str) and (not widget.options or value in widget.options)


TAKES: dict[str, Callable[[Widget, object], bool]] = {
    "FLOAT": takes_number,
    "INT": takes_number,
    "BOOLEAN": lambda widget, value: isinstance(value, bool),
    "STRING": lambda widget, value: isinstance(value, str),
    "COMBO": takes_option,
}
RANGES = {
    "FLOAT": "a number",
    "INT": "a number",
    "BOOLEAN": "true or false",
    "STRING": "a text",
    "COMBO": "one of its options",
}


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
    def required(self) -> frozenset[str]:
        """Names of the sockets that must be linked."""
        return frozenset(socket.name for socket in self.sockets if not socket.optional)

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

    def without(self, names: Collection[str]) -> Form:
        """The node without some of its inputs and outputs."""
        return Form(
            self.id,
            tuple(socket for socket in self.sockets if socket.name not in names),
            tuple(widget for widget in self.widgets if widget.name not in names),
            tuple(output for output in self.outputs if output.name not in names),
        )

    def kind_of(self, name: str) -> str:
        """Type of an input."""
        return self.kinds[name]

    @property
    def usual(self) -> dict[str, Value]:
        """The defaults, but for files, of which none is usual."""
        return {one.name: one.default for one in self.widgets if one.default != "" or one.kind != "COMBO"}

    @property
    def kinds(self) -> dict[str, str]:
        """Types of all inputs."""
        kinds = {socket.name: socket.kind for socket in self.sockets}
        return kinds | {widget.name: widget.kind for widget in self.widgets}


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


def number(name: str, default: float, low: float | None = None, high: float | None = None) -> Widget:
    """A FLOAT."""
    return Widget(name, "FLOAT", default, low=low, high=high)


def whole(name: str, default: int, low: int | None = None, high: int | None = None, control: bool = False) -> Widget:
    """An INT."""
    return Widget(name, "INT", default, control=control, low=low, high=high)


def text(name: str, default: str = "", long: bool = False) -> Widget:
    """A STRING."""
    return Widget(name, "STRING", default, long=long)


def advanced(*widgets: Widget) -> tuple[Widget, ...]:
    """Widgets that the front end hides until they are asked for."""
    return tuple(replace(widget, advanced=True) for widget in widgets)


def switch(name: str, default: bool) -> Widget:
    """A BOOLEAN."""
    return Widget(name, "BOOLEAN", default)


def choice(name: str, options: tuple[str, ...], default: str | None = None) -> Widget:
    """A COMBO; without a default the first one is chosen."""
    return Widget(name, "COMBO", default if default is not None else options[0], options)


def file_choice(name: str) -> Widget:
    """A COMBO over files of a machine."""
    return Widget(name, "COMBO", "")
