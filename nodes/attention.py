"""Seeing where in the picture an image prompt acted."""

from __future__ import annotations

from torch import Tensor

from ..ipadapter.attention.maps import AttentionRecord
from ..ipadapter.attention.selection import ALL, LAST, LAYER_GROUPS, MapChoice
from ..ipadapter.drawing.heat_map import SCALES
from ..ipadapter.host.api import ModelPatcher, io, ui
from ..ipadapter.host.node import Node
from ..ipadapter.host.notes import spoken
from ..ipadapter.host.sampling.attention_pictures import Look, picture_attention
from ..ipadapter.host.sampling.recording import record_image_prompt
from . import inputs
from .search import WORDS
from .sockets import MEASURING, ImagePromptRecordSocket


class RecordImagePromptAttention(Node):
    """A model that records where its image prompts act."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RecordImagePromptAttention",
            display_name="Record Image Prompt Attention",
            category=MEASURING,
            description="Records, while the model samples, how large a share of each cross-attention layer's output "
            "comes from the image prompts. Image Prompt Attention draws it. The picture stays the same to the bit; "
            "sampling takes a little longer.",
            search_aliases=WORDS["RecordImagePromptAttention"],
            inputs=[
                io.Model.Input("model", tooltip="A model with image prompts, from Apply IP-Adapter."),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The same model, recording. Sample with this one, and with it alone."),
                ImagePromptRecordSocket.Output(
                    "record", tooltip="For Image Prompt Attention. Each run of the model replaces what is in it."
                ),
            ],
        )

    @classmethod
    def execute(cls, model: ModelPatcher) -> io.NodeOutput:
        return io.NodeOutput(*record_image_prompt(model))


def step(name: str, default: int, tooltip: str) -> io.Int.Input:
    """A step of the run."""
    return inputs.whole(name, default, (0, LAST), tooltip)


def selection_inputs() -> list[io.Input]:
    """What of the record is read: layers, steps and prompts."""
    return [
        io.Combo.Input(
            "layers",
            options=[*LAYER_GROUPS],
            default=ALL,
            tooltip="Which cross-attention layers: all, those of a part of the UNet, or those of one level. "
            "Levels are counted as the UNet runs: input 1 is the finest, output 1 the coarsest. SD1.5 has "
            "three, SDXL two.",
        ),
        step("start_step", 0, "The first step that is read. 0 is the first of the run."),
        step("end_step", LAST, "The last step that is read, itself included. 10000 is the last of the run."),
        inputs.whole(
            "prompt",
            0,
            (0, 1000),
            "Which image prompt, in the order in which they were applied; parts of one count singly. 0 "
            "is all together.",
        ),
    ]


def look_inputs() -> list[io.Input]:
    """How the picture shows it."""
    return [
        inputs.fraction("opacity", 0.6, "How much the colours cover the picture. 1 shows the colours alone."),
        io.Combo.Input(
            "scale",
            options=[*SCALES],
            default=next(iter(SCALES)),
            tooltip="What the colours run from and to; the bar below the picture has the numbers. The first "
            "shows best where; the others make colours comparable: of one batch, and of any pictures.",
        ),
    ]


class ImagePromptAttention(Node):
    """A heat map over the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImagePromptAttention",
            display_name="Image Prompt Attention",
            category=MEASURING,
            description="Shows where in the picture an image prompt acted: its share of the attention's output, as a "
            "heat map over the picture, as a mask and in numbers, for chosen layers and steps.",
            search_aliases=WORDS["ImagePromptAttention"],
            is_output_node=True,
            inputs=[
                ImagePromptRecordSocket.Input("record", tooltip="From Record Image Prompt Attention."),
                inputs.image("The picture that the recorded model made, decoded. Its size may differ, its shape not."),
                *selection_inputs(),
                *look_inputs(),
            ],
            outputs=[
                io.Image.Output("overlay", tooltip="The heat map over the picture, with its scale below."),
                io.Mask.Output("mask", tooltip="The share itself, 0 to 1, in the picture's size."),
                io.String.Output("text", tooltip="The mean and the highest share, and the mean of each level."),
            ],
        )

    @classmethod
    def execute(
        cls,
        record: AttentionRecord,
        image: Tensor,
        layers: str,
        start_step: int,
        end_step: int,
        prompt: int,
        opacity: float,
        scale: str,
    ) -> io.NodeOutput:
        made = picture_attention(record, image, MapChoice(layers, start_step, end_step, prompt), Look(scale, opacity))
        shown = ui.PreviewImage(made.overlay, cls=cls).as_dict() | spoken(made.text)
        return io.NodeOutput(made.overlay, made.mask, made.text, ui=shown)
