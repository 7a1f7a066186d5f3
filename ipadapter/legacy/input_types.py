"""The inputs of old nodes as the host's first API has them, which programs and other packs index: `[…][0]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..strength.frames import UNTIL_THE_END
from .migration.forms import Form, Widget

InputTypes = dict[str, dict[str, tuple[Any, ...]]]
WidgetOptions = dict[str, Any]


def number_limits(low: float, high: float, step: float) -> WidgetOptions:
    """From where to where a number goes, in which steps."""
    return {"min": low, "max": high, "step": step}


SHARE, WIDE, FRAME = number_limits(0.0, 1.0, 0.05), number_limits(-1, 5, 0.05), number_limits(0, UNTIL_THE_END, 1)
MOMENT, BOOST, LINES = number_limits(0.0, 1.0, 0.001), number_limits(-5, 5, 0.05), {"multiline": True}
OPTIONS: dict[str, WidgetOptions] = {
    **dict.fromkeys(("weight", "weight_faceidv2", "weight_kolors", "weight_style", "weight_composition"), WIDE),
    **dict.fromkeys(("start_at", "end_at"), MOMENT),
    **dict.fromkeys(("style_boost", "composition_boost"), BOOST),
    **dict.fromkeys(("sharpening", "strength", "enhance_ratio", "weights_1", "weights_2"), SHARE),
    **dict.fromkeys(("frames", "start_frame", "end_frame", "add_starting_frames", "add_ending_frames"), FRAME),
    **dict.fromkeys(("weights", "prompt", "layer_weights"), LINES),
    "enhance_tiles": number_limits(1, 16, 1),
    "encode_batch_size": number_limits(0, 4096, 1),
    "lora_strength": number_limits(0, 1, 0.01),
    "blur": number_limits(0, 32, 1),
    "image_weight": number_limits(-1.0, 3.0, 0.05),
    "prompt_weight": number_limits(0.0, 10.0, 0.05),
}
NARROW = number_limits(-1, 3, 0.05)
OPTIONS_OF_NODE: dict[tuple[str, str], WidgetOptions] = {
    **{
        (node, "weight"): NARROW
        for node in (
            *("IPAdapter", "IPAdapterFaceID", "IPAdapterFaceIDKolors", "IPAAdapterFaceIDBatch"),
            *("IPAdapterTiled", "IPAdapterTiledBatch", "IPAdapterEmbeds", "IPAdapterEmbedsBatch"),
        )
    },
    ("IPAdapterEncoder", "weight"): number_limits(-1.0, 3.0, 0.01),
}


def input_types(form: Form, files: Mapping[str, Sequence[str]]) -> InputTypes:
    """A node's inputs: sockets that must be linked, widgets, sockets that may be. `files` is what file menus list."""
    needed = {socket.name: (socket.kind,) for socket in form.sockets if not socket.optional}
    optional = {socket.name: (socket.kind,) for socket in form.sockets if socket.optional}
    typed = {widget.name: widget_type(form.id, widget, files) for widget in form.widgets}
    return {"required": {**needed, **typed}} | ({"optional": optional} if optional else {})


def widget_type(node: str, widget: Widget, files: Mapping[str, Sequence[str]]) -> tuple[Any, ...]:
    """One input with a value of its own. A menu says its default only where that is not the first entry."""
    if widget.kind == "COMBO":
        options = list(widget.options or files[widget.name])
        usual = not widget.options or widget.default == options[0]
        return (options,) if usual else (options, {"default": widget.default})
    own = OPTIONS_OF_NODE.get((node, widget.name), OPTIONS.get(widget.name, {}))
    return (widget.kind, {"default": widget.default, **own})
