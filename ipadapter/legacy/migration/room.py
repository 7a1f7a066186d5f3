"""Room on the canvas: a node that needs more of it than the old one pushes down what it would cover.

Heights are those of the front end's canvas (LiteGraph's constants), in its pixels. The pack's own script hides advanced
widgets of the nodes that stand in for old ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .forms import Form, GraphJson, Widget

TITLE, SLOT, WIDGET, LONG_TEXT = 30, 20, 24, 54
BELOW_WIDGETS, BELOW_ALL = 8, 6
GAP = 10  # below a node that pushes
STAND_IN = "Legacy"  # how the ids of nodes begin that hide their advanced widgets


def height_of(form: Form) -> int:
    """The least height of a node without its title."""
    rows = max(len(form.sockets), len(form.outputs), 1)
    shown = [widget for widget in form.widgets if not (widget.advanced and form.id.startswith(STAND_IN))]
    widgets = sum(map(widget_height, shown)) + BELOW_WIDGETS * bool(shown)
    return rows * SLOT + widgets + BELOW_ALL


def unfolded(form: Form) -> Form:
    """A node whose advanced widgets are shown."""
    return replace(form, widgets=tuple(replace(widget, advanced=False) for widget in form.widgets))


def widget_height(widget: Widget) -> int:
    """The least height of a widget, with the front end's own behind it."""
    return (LONG_TEXT if widget.long else WIDGET) + WIDGET * widget.control


@dataclass(frozen=True)
class CanvasBox:
    """A node on the canvas, its title included."""

    left: float
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def covers(self, other: CanvasBox) -> bool:
        """Whether the two have a place in common."""
        beside = self.left + self.width <= other.left or other.left + other.width <= self.left
        return not beside and self.top < other.bottom and other.top < self.bottom


def two_numbers(value: object) -> tuple[float, float] | None:
    """A position or a size, which older front ends write as an object."""
    found = [value.get("0"), value.get("1")] if isinstance(value, Mapping) else value
    if not isinstance(found, list) or len(found) < 2:
        return None
    one, other = found[:2]
    return (float(one), float(other)) if isinstance(one, (int, float)) and isinstance(other, (int, float)) else None


def box_of(node: GraphJson) -> CanvasBox | None:
    """Where a node is, as far as it says."""
    place, size = two_numbers(node.get("pos")), two_numbers(node.get("size"))
    if place is None or size is None:
        return None
    is_collapsed = bool((node.get("flags") or {}).get("collapsed"))
    return CanvasBox(place[0], place[1] - TITLE, size[0], TITLE + (0 if is_collapsed else size[1]))


def with_second(value: object, number: float) -> object:
    """A position or size with another second number, written as it was."""
    whole = int(number) if float(number).is_integer() else number
    return {**value, "1": whole} if isinstance(value, Mapping) else [value[0], whole]  # type: ignore[index]


def grow(node: GraphJson, old: Form, new: Form) -> CanvasBox | None:
    """Make a node as high as it must be, where the old one was not; the place that the old one took, then."""
    box, size = box_of(node), two_numbers(node.get("size"))
    if box is None or size is None or (node.get("flags") or {}).get("collapsed"):
        return None
    before, needed = max(size[1], height_of(old)), height_of(unfolded(new) if node.get("showAdvanced") else new)
    if needed <= before:
        return None
    node["size"] = with_second(node["size"], needed)
    return replace(box, height=TITLE + before)


def make_room(nodes: Iterable[GraphJson], grown: Mapping[int, CanvasBox]) -> None:
    """Push down what grown nodes cover and did not cover before. Old places of grown nodes by `id(node)`."""
    settled: list[tuple[CanvasBox, CanvasBox]] = []  # before and now, of all that changed
    placed = [(box, node) for box, node in ((box_of(node), node) for node in nodes) if box is not None]
    for now, node in sorted(placed, key=lambda one: one[0].top):
        before = grown.get(id(node), now)
        top = free_top(now, before, settled)
        if top > now.top:
            node["pos"] = with_second(node["pos"], top + TITLE)
        if top > now.top or before != now:
            settled.append((before, replace(now, top=top)))


def free_top(now: CanvasBox, before: CanvasBox, settled: list[tuple[CanvasBox, CanvasBox]]) -> float:
    """Where a node's top may be without being covered by what has changed."""
    newly = sorted((other for was, other in settled if not was.covers(before)), key=lambda box: box.top)
    for other in newly:
        now = replace(now, top=other.bottom + GAP) if other.covers(now) else now
    return now.top
