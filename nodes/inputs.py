"""Inputs and outputs that several nodes have. `more` is what else the host's input takes: optional, advanced."""

from __future__ import annotations

from enum import Enum
from typing import Any

from ..ipadapter.host.api import io
from ..ipadapter.host.encoders.open_clip import AUTO, architectures
from ..ipadapter.host.files import HOST_ENCODERS, file_names
from ..ipadapter.prompts.prompt import Order
from ..ipadapter.strength.frames import UNTIL_THE_END
from ..ipadapter.strength.presets import LAYER_PRESETS, LINEAR
from .sockets import ImagePromptSocket


def choice(name: str, default: Enum, tooltip: str, **more: Any) -> io.Combo.Input:
    """A menu of everything that an enumeration has."""
    options = [one.value for one in type(default)]
    return io.Combo.Input(name, options=options, default=default.value, tooltip=tooltip, **more)


def number(name: str, default: float, limits: tuple[float, float], tooltip: str, **more: Any) -> io.Float.Input:
    """A number in steps of 0.05."""
    low, high = limits
    return io.Float.Input(name, default=default, min=low, max=high, step=0.05, tooltip=tooltip, **more)


def whole(name: str, default: int, limits: tuple[int, int], tooltip: str, **more: Any) -> io.Int.Input:
    """A whole number."""
    low, high = limits
    return io.Int.Input(name, default=default, min=low, max=high, tooltip=tooltip, **more)


def weight(name: str, default: float, tooltip: str, **more: Any) -> io.Float.Input:
    """What something is multiplied by; below 0 it moves away."""
    return number(name, default, (-5.0, 5.0), tooltip, **more)


def fraction(name: str, default: float, tooltip: str, **more: Any) -> io.Float.Input:
    """A part of the whole."""
    return number(name, default, (0.0, 1.0), tooltip, **more)


def long_text(name: str, tooltip: str, default: str = "", **more: Any) -> io.String.Input:
    """A text of several lines."""
    return io.String.Input(name, default=default, multiline=True, tooltip=tooltip, **more)


def moment(name: str, default: float, tooltip: str) -> io.Float.Input:
    """A point of the sampling, which goes from 0 to 1."""
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.001, tooltip=tooltip)


def window() -> list[io.Float.Input]:
    """The part of the sampling in which an image prompt acts."""
    return [
        moment("start_at", 0.0, "When it begins: 0 is the first step."),
        moment("end_at", 1.0, "When it ends: 1 is the last step."),
    ]


def layer_preset(name: str, tooltip: str, **more: Any) -> io.Combo.Input:
    return io.Combo.Input(name, options=list(LAYER_PRESETS), default=LINEAR, tooltip=tooltip, **more)


def frame(name: str, default: int, tooltip: str, **more: Any) -> io.Int.Input:
    """A frame of an animation, or a number of them."""
    return whole(name, default, (0, UNTIL_THE_END), tooltip, **more)


def seed(tooltip: str, control: io.ControlAfterGenerate, **more: Any) -> io.Int.Input:
    return whole("seed", 0, (0, 0xFFFFFFFFFFFFFFFF), tooltip, control_after_generate=control, **more)


def image(tooltip: str = "The reference, or a batch of references.", name: str = "image") -> io.Image.Input:
    return io.Image.Input(name, tooltip=tooltip)


def order_of(things: str) -> io.Combo.Input:
    """Which of a batch of references speak to which pictures."""
    return choice(
        "order",
        Order.TOGETHER,
        f"Of a batch: together, all {things} speak to every picture; frame by frame, the first to the first picture, "
        "the second to the second.",
        optional=True,
        advanced=True,
    )


def weights_of(things: str) -> io.String.Input:
    """A weight for each of a batch of references."""
    tooltip = f"One number for all {things}, or one for each, such as 1, 0.5. Empty: 1 for each."
    return io.String.Input("weights", default="", optional=True, tooltip=tooltip, advanced=True)


def image_prompt(tooltip: str = "From Encode Image Prompt.") -> ImagePromptSocket.Input:
    return ImagePromptSocket.Input("image_prompt", tooltip=tooltip)


def image_prompt_output(tooltip: str = "For Apply IP-Adapter.") -> ImagePromptSocket.Output:
    return ImagePromptSocket.Output("image_prompt", tooltip=tooltip)


def encoder_file(tooltip: str) -> io.Combo.Input:
    return io.Combo.Input("clip_name", options=file_names(HOST_ENCODERS), tooltip=tooltip)


def architecture(tooltip: str) -> io.Combo.Input:
    """Of an open_clip model."""
    return io.Combo.Input("architecture", options=[AUTO, *architectures()], default=AUTO, tooltip=tooltip)


def filename_prefix(default: str) -> io.String.Input:
    return io.String.Input("filename_prefix", default=default, tooltip="In the output folder; a number is added.")
