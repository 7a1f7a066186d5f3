"""The old nodes for weights and text prompts by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...ipadapter.host.api import io
from ...ipadapter.host.node import Node
from ...ipadapter.legacy.schedule import Method, prompt_schedule
from ...ipadapter.legacy.weights_strategy import WeightsStrategy, schedule_of
from ...ipadapter.strength.frames import UNTIL_THE_END, FrameTiming
from .. import inputs as shared
from . import inputs
from .schema import stand_in


def timing_inputs() -> list[io.Input]:
    """The weights, and how they follow each other."""
    return [
        shared.long_text(
            "weights",
            "Numbers with commas between them; all timings but custom read the first and the last.",
            "1.0, 0.0",
            optional=True,
        ),
        shared.choice(
            "timing",
            FrameTiming.LINEAR,
            "How the weights go from the first to the last; custom takes them as they are.",
            optional=True,
        ),
    ]


FRAMES = {
    "frames": (0, "How many weights there are for each picture, but for custom; 2 or more."),
    "start_frame": (0, "Where the weights begin to change."),
    "end_frame": (UNTIL_THE_END, "Where the last weight is reached."),
    "add_starting_frames": (0, "How often the first picture is put before the others."),
    "add_ending_frames": (0, "How often the last picture is put behind the others."),
}


def frame_inputs() -> list[io.Input]:
    """How many frames there are of what."""
    return [shared.frame(name, default, tooltip, optional=True) for name, (default, tooltip) in FRAMES.items()]


class LegacyIPAdapterWeights(Node):
    """Weights by frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterWeights",
            display_name="IPAdapter Weights",
            description="In new graphs use Image Prompt Frames.",
            search_aliases=["IPAdapterWeights", "IPAdapterWeightsFromStrategy", "weights by frame", "animation"],
            inputs=[
                *timing_inputs(),
                *frame_inputs(),
                shared.choice(
                    "method",
                    Method.FULL,
                    "Whether the pictures follow one another, or fade from image_1 to image_2.",
                    optional=True,
                ),
                inputs.StrategySocket.Input(
                    "weights_strategy", optional=True, tooltip="Settings of another such node, in place of these."
                ),
                io.Image.Input("image", optional=True, tooltip="A picture for each list of weights."),
            ],
            outputs=[
                io.Float.Output("weights", tooltip="One weight a frame."),
                io.Float.Output("weights_invert", tooltip="The same from the last to the first."),
                io.Int.Output("total_frames", tooltip="How many there are."),
                io.Image.Output("image_1", tooltip="One picture a frame."),
                io.Image.Output("image_2", tooltip="What each of them fades to."),
                inputs.StrategySocket.Output("weights_strategy", tooltip="These settings, for another such node."),
            ],
        )

    @classmethod
    def execute(
        cls,
        weights: str = "1.0, 0.0",
        timing: str = FrameTiming.LINEAR.value,
        frames: int = 0,
        start_frame: int = 0,
        end_frame: int = UNTIL_THE_END,
        add_starting_frames: int = 0,
        add_ending_frames: int = 0,
        method: str = Method.FULL.value,
        weights_strategy: Mapping[str, Any] | None = None,
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        pictures = 0 if image is None else len(image)
        typed = WeightsStrategy(
            weights, timing, frames, start_frame, end_frame, add_starting_frames, add_ending_frames, method, pictures
        )
        strategy = typed if weights_strategy is None else WeightsStrategy.read(weights_strategy)
        made = schedule_of(strategy, pictures)
        batches = [None if image is None or not rows else image[list(rows)] for rows in (made.first, made.second)]
        every = list(made.weights)
        return io.NodeOutput(every, every[::-1], len(every), *batches, strategy.as_dict())


class LegacyIPAdapterCombineWeights(Node):
    """Two lists of weights as one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterCombineWeights",
            display_name="IPAdapter Combine Weights",
            description="In new graphs type all weights into Image Prompt Frames.",
            search_aliases=["IPAdapterCombineWeights", "combine weights", "weights by frame"],
            inputs=[shared.fraction(name, 0.0, "A weight, or a list of them.") for name in ("weights_1", "weights_2")],
            outputs=[
                io.Float.Output("weights", tooltip="One list of both."),
                io.Int.Output("count", tooltip="How many there are."),
            ],
        )

    @classmethod
    def execute(cls, weights_1: float | Sequence[float], weights_2: float | Sequence[float]) -> io.NodeOutput:
        lists = (list(one) if isinstance(one, Sequence) else [one] for one in (weights_1, weights_2))
        both = [weight for one in lists for weight in one]
        return io.NodeOutput(both, len(both))


class LegacyIPAdapterPromptSchedule(Node):
    """Text prompts by frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterPromptSchedule",
            display_name="Prompt Schedule From Weights Strategy",
            description="Writes a prompt for each picture as nodes for prompt schedules read it.",
            search_aliases=["IPAdapterPromptScheduleFromWeightsStrategy", "prompt schedule", "animation"],
            inputs=[
                inputs.StrategySocket.Input("weights_strategy", tooltip="From IPAdapter Weights."),
                shared.long_text("prompt", "A line for each picture."),
            ],
            outputs=[io.String.Output("prompt_schedule", tooltip="Frames and their prompts.")],
        )

    @classmethod
    def execute(cls, weights_strategy: Mapping[str, Any], prompt: str) -> io.NodeOutput:
        strategy = WeightsStrategy.read(weights_strategy)
        before, after = strategy.add_starting_frames, strategy.add_ending_frames
        return io.NodeOutput(prompt_schedule(prompt, strategy.frame_count, strategy.frames, before, after))
