"""Applying: a model that follows an image prompt."""

from __future__ import annotations

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..ipadapter.host.adapter import Adapter
from ..ipadapter.host.api import io
from ..ipadapter.host.patching import apply_image_prompt
from ..ipadapter.image_prompt import ImagePrompt
from ..ipadapter.strength import Strength, empty_window
from .sockets import CATEGORY, ImagePromptSocket, IPAdapterSocket


class ApplyIPAdapter(io.ComfyNode):
    """Attach an image prompt to a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ApplyIPAdapter",
            display_name="Apply IP-Adapter",
            category=CATEGORY,
            description="Gives the model an image prompt beside its text prompt. Chain several for several adapters; "
            "each output is a model of its own.",
            search_aliases=["ip adapter", "ipadapter", "image prompt", "style transfer", "IPAdapterAdvanced"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Any checkpoint of the family the adapter was made for, LoRAs included."
                ),
                IPAdapterSocket.Input("ip_adapter", tooltip="From Load IP-Adapter."),
                ImagePromptSocket.Input("image_prompt", tooltip="From Encode Image Prompt."),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=-5.0,
                    max=5.0,
                    step=0.05,
                    tooltip="λ of the paper: 1 for an image prompt alone, about 0.5 beside a text prompt, 0 for none.",
                ),
                io.Float.Input(
                    "start_at",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When it begins: 0 is the first step.",
                ),
                io.Float.Input(
                    "end_at", default=1.0, min=0.0, max=1.0, step=0.001, tooltip="When it ends: 1 is the last step."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the output it acts: white does, black does not. One mask, or one a picture.",
                ),
            ],
            outputs=[io.Model.Output("model", tooltip="The model with the image prompt.")],
        )

    @classmethod
    def validate_inputs(cls, start_at: float | None = None, end_at: float | None = None) -> bool | str:
        return True if start_at is None or end_at is None else empty_window(start_at, end_at) or True

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ip_adapter: Adapter,
        image_prompt: ImagePrompt,
        weight: float,
        start_at: float,
        end_at: float,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        strength = Strength(weight, start_at, end_at)
        return io.NodeOutput(apply_image_prompt(model, ip_adapter, image_prompt, strength, mask))
