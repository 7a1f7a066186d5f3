"""Applying: a model that follows an image prompt."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from torch import Tensor

from ..ipadapter.host.api import ModelPatcher, io
from ..ipadapter.host.legacy.exchange import GivenAdapter, adapter_of
from ..ipadapter.host.node import Node
from ..ipadapter.host.sampling.conditioning import carrying
from ..ipadapter.host.sampling.patching import apply_image_prompt
from ..ipadapter.prompts.prompt import ImagePrompt
from ..ipadapter.strength.presets import LINEAR
from ..ipadapter.strength.strength import Scaling, Strength, StrengthParts, make_strength
from . import inputs
from .search import WORDS
from .sockets import CATEGORY, IPAdapterSocket, OtherAdapterSocket, StrengthSocket


def prompt_inputs() -> list[io.Input]:
    """Model, adapter and prompt."""
    return [
        io.Model.Input("model", tooltip="Any checkpoint of the family the adapter was made for, LoRAs included."),
        io.MultiType.Input(
            "ip_adapter",
            types=[IPAdapterSocket, OtherAdapterSocket],
            tooltip="From Load IP-Adapter.",
        ),
        inputs.image_prompt(),
    ]


def strength_inputs() -> list[io.Input]:
    """How strongly, when, in which layers."""
    return [
        inputs.weight(
            "weight",
            1.0,
            "λ of the paper: 1 for an image prompt alone, about 0.5 beside a text prompt, 0 for none.",
        ),
        *inputs.window(),
        inputs.layer_preset(
            "layers",
            "Which cross-attention layers follow it. linear is all alike, as in the paper; style transfer and "
            "composition are those that carry one or the other.",
            optional=True,
        ),
        inputs.choice(
            "scaling",
            Scaling.VALUES,
            "What the weight scales. V only is the paper's; K+V also makes the attention sharper or flatter; "
            "C penalty weakens narrow layers.",
            optional=True,
            advanced=True,
        ),
    ]


def place_inputs() -> list[io.Input]:
    """Where, and a strength that changes."""
    return [
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where in the output it acts: white does, black does not. One mask, or one a picture.",
        ),
        StrengthSocket.Input(
            "strength",
            optional=True,
            tooltip="From Image Prompt Layers, Curve or Frames; multiplied with weight, window and layers.",
        ),
    ]


class ApplyIPAdapter(Node):
    """Attach an image prompt to a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ApplyIPAdapter",
            display_name="Apply IP-Adapter",
            category=CATEGORY,
            description="Gives the model an image prompt beside its text prompt. Chain several for several adapters; "
            "each output is a model of its own.",
            search_aliases=WORDS["ApplyIPAdapter"],
            inputs=[*prompt_inputs(), *strength_inputs(), *place_inputs()],
            outputs=[io.Model.Output("model", tooltip="The model with the image prompt.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ip_adapter: GivenAdapter,
        image_prompt: ImagePrompt,
        weight: float,
        start_at: float,
        end_at: float,
        layers: str = LINEAR,
        scaling: str = Scaling.VALUES.value,
        mask: Tensor | None = None,
        strength: StrengthParts | None = None,
    ) -> io.NodeOutput:
        made = make_strength(Strength(weight, start_at, end_at, scaling=Scaling(scaling)), layers, strength)
        return io.NodeOutput(apply_image_prompt(model, adapter_of(ip_adapter), image_prompt, made, mask))


class ApplyIPAdapterToConditioning(Node):
    """Attach an image prompt to some of a model's text prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ApplyIPAdapterToConditioning",
            display_name="Apply IP-Adapter to Conditioning",
            category=CATEGORY,
            description="Gives an image prompt to these text prompts only, so that their areas, masks and timestep "
            "ranges hold for it too. The sampler needs the model and the conditionings that come out; chain several "
            "through model, and combine the conditionings.",
            search_aliases=WORDS["ApplyIPAdapterToConditioning"],
            inputs=[
                *prompt_inputs(),
                io.Conditioning.Input("positive", tooltip="The text prompt that the image prompt goes with."),
                io.Conditioning.Input(
                    "negative", tooltip="The negative text prompt: it gets what stands for no image beside it."
                ),
                *strength_inputs(),
                *place_inputs(),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model that knows the image prompt."),
                io.Conditioning.Output("positive", tooltip="The text prompt with the image prompt."),
                io.Conditioning.Output("negative", tooltip="The negative text prompt with its counterpart."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ip_adapter: GivenAdapter,
        image_prompt: ImagePrompt,
        positive: Any,
        negative: Any,
        weight: float,
        start_at: float,
        end_at: float,
        layers: str = LINEAR,
        scaling: str = Scaling.VALUES.value,
        mask: Tensor | None = None,
        strength: StrengthParts | None = None,
    ) -> io.NodeOutput:
        made = make_strength(Strength(weight, start_at, end_at, scaling=Scaling(scaling)), layers, strength)
        name = uuid4().hex
        applied = apply_image_prompt(model, adapter_of(ip_adapter), image_prompt, made, mask, bound=name)
        return io.NodeOutput(applied, carrying(positive, name), carrying(negative, name))
