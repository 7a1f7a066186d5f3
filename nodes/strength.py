"""Strengths: how much each layer, each moment of the sampling and each frame follows an image prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..ipadapter.backbones.known import require_layers
from ..ipadapter.backbones.unet import UNET
from ..ipadapter.drawing.strengths import draw_curves, draw_frames, draw_layers
from ..ipadapter.host.api import ModelPatcher, io, ui
from ..ipadapter.host.backbones.replaced import own_attentions
from ..ipadapter.host.node import Node
from ..ipadapter.host.pictures import from_pil
from ..ipadapter.strength.curve import Interpolation, read_keyframes, tabulate
from ..ipadapter.strength.frames import UNTIL_THE_END, FrameTiming, timed_weights
from ..ipadapter.strength.layers import LayerRule, LevelRule, PresetRule, read_layer_weights, weigh_layers
from ..ipadapter.strength.strength import StrengthParts
from . import inputs
from .search import WORDS
from .sockets import STRENGTH, StrengthSocket

LEVEL_INPUTS = tuple(level.replace(" ", "_") for level in UNET.levels)


def strength_input() -> io.Input:
    """Chained nodes multiply."""
    return StrengthSocket.Input(
        "strength", optional=True, tooltip="Another strength node, to multiply this one with. Their order is free."
    )


def strength_output() -> io.Output:
    return StrengthSocket.Output("strength", tooltip="For Apply IP-Adapter, or for another strength node.")


def layer_weight_inputs() -> list[io.Input]:
    """A preset, a slider for each level, and weights that are typed."""
    return [
        inputs.layer_preset(
            "preset",
            "linear is every layer alike, as in the paper; style transfer and composition take those "
            "layers that carry one or the other.",
        ),
        inputs.number(
            "second_weight",
            1.0,
            (-10.0, 10.0),
            "The second weight of presets that have two, as a multiple of the first: the composition "
            "in style and composition, the boost of the precise ones.",
            advanced=True,
        ),
        *(slider(name) for name in LEVEL_INPUTS),
        inputs.long_text(
            "weights",
            "Weights by layer, such as 3: 0.5, 6: 1 (transformers counted as they run), output 1: 0.8, "
            "input 8.3: 0.2 (one layer of a transformer), middle: 0, all: 1. Layers that no entry names get 0; "
            "the later entry counts. Empty: not used.",
            advanced=True,
        ),
    ]


def slider(name: str) -> io.Input:
    """One level's weight."""
    where = name.replace("_", " ")
    missing = "; a model without it does not read this" if name.endswith("3") else ""
    tooltip = f"Multiplies the layers of {where}, levels counted as the UNet runs them{missing}."
    return inputs.weight(name, 1.0, tooltip)


class ImagePromptLayers(Node):
    """Weights by cross-attention layer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImagePromptLayers",
            display_name="Image Prompt Layers",
            category=STRENGTH,
            description="Says how strongly each cross-attention layer follows the image prompt: a preset, a slider for "
            "each level of the UNet, and weights by layer for those who want them. All of them multiply. The picture "
            "shows what comes of it.",
            search_aliases=WORDS["ImagePromptLayers"],
            inputs=[
                io.Model.Input("model", tooltip="The model whose layers are meant."),
                *layer_weight_inputs(),
                strength_input(),
            ],
            outputs=[
                strength_output(),
                io.Image.Output("image", tooltip="A bar for each layer; red ones are inverted."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        preset: str,
        second_weight: float,
        weights: str,
        strength: StrengthParts | None = None,
        **levels: float,
    ) -> io.NodeOutput:
        made = strength or StrengthParts()
        for rule in rules_of(preset, second_weight, weights, levels):
            made = made.with_layers(rule)
        with own_attentions(model) as unet:
            layers = require_layers(unet, "weights by layer are for UNets")
        picture = from_pil(draw_layers(layers, weigh_layers(made.layers, layers)))
        return io.NodeOutput(made, picture, ui=ui.PreviewImage(picture, cls=cls))


def rules_of(preset: str, second: float, typed: str, levels: Mapping[str, float]) -> list[LayerRule]:
    """What the node's inputs say; a typed text only where there is one."""
    by_level = {level: levels[name] for level, name in zip(UNET.levels, LEVEL_INPUTS, strict=True)}
    rules: list[LayerRule] = [PresetRule(preset, second), LevelRule(by_level)]
    return [*rules, read_layer_weights(typed)] if typed.strip() else rules


def keyframe_inputs() -> list[io.Input]:
    """A curve that is typed."""
    return [
        inputs.long_text(
            "keyframes",
            "Position: weight, separated by commas or lines. Positions are those of start_at and "
            "end_at: 0 is the first step, 1 the last; percent will do too (50%: 0.3).",
            "0: 1, 1: 0",
        ),
        inputs.choice(
            "interpolation",
            Interpolation.LINEAR,
            "How the weight goes from one keyframe to the next; step keeps it until the next.",
        ),
    ]


class ImagePromptCurve(Node):
    """A weight that changes in the course of the sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImagePromptCurve",
            display_name="Image Prompt Curve",
            category=STRENGTH,
            description="Lets the weight of an image prompt change in the course of the sampling: by keyframes, or by "
            "a curve. Where it is 0 the image prompt costs nothing. For curves of their own for some layers, apply the "
            "prompt twice, each time with other layers.",
            search_aliases=WORDS["ImagePromptCurve"],
            inputs=[
                *keyframe_inputs(),
                inputs.weight("low", 0.0, "The weight at the bottom of the connected curve.", advanced=True),
                inputs.weight("high", 1.0, "The weight at the top of the connected curve.", advanced=True),
                io.Custom("CURVE").Input(
                    "curve",
                    optional=True,
                    tooltip="From Curve Editor, in place of the keyframes: left is the first step, right the last.",
                    extra_dict={"forceInput": True},
                ),
                strength_input(),
            ],
            outputs=[strength_output(), io.Image.Output("image", tooltip="The weight over the sampling.")],
        )

    @classmethod
    def execute(
        cls,
        keyframes: str,
        interpolation: str,
        low: float,
        high: float,
        curve: Any = None,
        strength: StrengthParts | None = None,
    ) -> io.NodeOutput:
        typed = None if curve is not None else read_keyframes(keyframes, Interpolation(interpolation))
        drawn = typed or tabulate(curve.interp, low, high)
        made = (strength or StrengthParts()).with_curve(drawn)
        picture = from_pil(draw_curves(made.curves))
        return io.NodeOutput(made, picture, ui=ui.PreviewImage(picture, cls=cls))


def timing_inputs() -> list[io.Input]:
    """The weights, how they follow each other, and for how many frames."""
    return [
        inputs.long_text(
            "weights",
            "Numbers, separated by commas or lines. custom takes one a frame; the other timings go "
            "from the first to the last.",
            "1, 0",
        ),
        inputs.choice("timing", FrameTiming.LINEAR, "How the weight goes from the first number to the last."),
        inputs.whole("frames", 16, (1, 9999), "How many frames; custom has as many as are typed."),
    ]


class ImagePromptFrames(Node):
    """A weight for each picture of a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImagePromptFrames",
            display_name="Image Prompt Frames",
            category=STRENGTH,
            description="Gives each picture of a batch its own weight of the image prompt, for animations and for "
            "comparing weights in one batch. Past the last frame the last weight stays.",
            search_aliases=WORDS["ImagePromptFrames"],
            inputs=[
                *timing_inputs(),
                inputs.frame("start_frame", 0, "Until here the first weight stays.", advanced=True),
                inputs.frame("end_frame", UNTIL_THE_END, "From here on the last weight stays.", advanced=True),
                inputs.seed(
                    "For the timing random: the same seed draws the same weights.",
                    control=io.ControlAfterGenerate.fixed,
                    advanced=True,
                ),
                strength_input(),
            ],
            outputs=[strength_output(), io.Image.Output("image", tooltip="A bar for each frame.")],
        )

    @classmethod
    def execute(
        cls,
        weights: str,
        timing: str,
        frames: int,
        start_frame: int,
        end_frame: int,
        seed: int,
        strength: StrengthParts | None = None,
    ) -> io.NodeOutput:
        each = timed_weights(weights, FrameTiming(timing), frames, start_frame, end_frame, seed=seed)
        made = (strength or StrengthParts()).with_frames(each)
        picture = from_pil(draw_frames(made.frames or each))
        return io.NodeOutput(made, picture, ui=ui.PreviewImage(picture, cls=cls))
