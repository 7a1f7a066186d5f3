"""Room on the canvas: where the old node's place is too small for a new one, it hides what the old one had not.

Heights are those of the front end's canvas (LiteGraph's constants), in its pixels. The pack's own script,
web/js/legacy.js, hides what a node's property names, and advanced widgets without a link on nodes that stand in for old
ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from .forms import Form, GraphJson, Widget
from .rules import MigrationRule

SLOT, WIDGET, LONG_TEXT = 20, 24, 54
BELOW_WIDGETS, BELOW_ALL = 8, 6
BUTTON = 24  # of Nodes 2.0, below a node with advanced widgets
STAND_IN = "Legacy"  # how the ids of nodes begin that hide their advanced widgets
HIDDEN = "hidden inputs"  # a node's property: names of what is hidden on it, outputs among them


def height_of(form: Form, linked: Collection[str] = ()) -> int:
    """The least height of a node without its title, some of whose inputs have a link."""
    rows = max(len(form.sockets), len(form.outputs), 1)
    shown = [widget for widget in form.widgets if widget.name in linked or not is_folded(form, widget)]
    widgets = sum(map(widget_height, shown)) + BELOW_WIDGETS * bool(shown)
    return rows * SLOT + widgets + BELOW_ALL


def is_folded(form: Form, widget: Widget) -> bool:
    """Whether a widget without a link is hidden until it is asked for."""
    return widget.advanced and form.id.startswith(STAND_IN)


def unfolded(form: Form) -> Form:
    """A node whose advanced widgets are shown."""
    return replace(form, widgets=tuple(replace(widget, advanced=False) for widget in form.widgets))


def widget_height(widget: Widget) -> int:
    """The least height of a widget, with the front end's own behind it."""
    return (LONG_TEXT if widget.long else WIDGET) + WIDGET * widget.control


def button_of(form: Form) -> int:
    """The height of the button that Nodes 2.0 puts below advanced widgets."""
    return BUTTON * any(widget.advanced for widget in form.widgets)


def height_in(size: object) -> float:
    """The height in a node's size, which older front ends write as an object; 0 where it says none."""
    numbers = [size.get("0"), size.get("1")] if isinstance(size, Mapping) else size
    height = numbers[1] if isinstance(numbers, list) and len(numbers) > 1 else 0
    return float(height) if isinstance(height, (int, float)) else 0.0


def fit(node: GraphJson, rule: MigrationRule) -> None:
    """Hide on a new node what the old one had not, unless there is room for all."""
    linked = {slot["name"] for slot in node["inputs"] if slot["link"] is not None}
    room = max(height_in(node.get("size")), height_of(rule.legacy_form, linked))
    if height_of(rule.new_form, linked) + button_of(rule.new_form) > room:
        node["properties"][HIDDEN] = list(rule.lacking)
