"""Encoding: pictures to an image prompt."""

from __future__ import annotations

from torch import Tensor

from ..ipadapter.host.api import io
from ..ipadapter.host.encoder import encode_image_prompt
from ..ipadapter.pixels import Fit
from .sockets import CATEGORY, ImagePromptSocket


class EncodeImagePrompt(io.ComfyNode):
    """Make an image prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EncodeImagePrompt",
            display_name="Encode Image Prompt",
            category=CATEGORY,
            description="Turns reference images into a prompt. A batch is several references to one prompt. The prompt "
            "fits every adapter made for the same image encoder.",
            search_aliases=["ip adapter", "image prompt", "clip vision encode", "IPAdapterEncoder"],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision", tooltip="The image encoder the adapter was made for, most often ViT-H."
                ),
                io.Image.Input("image", tooltip="The reference, or a batch of references."),
                io.Combo.Input(
                    "fit",
                    options=[fit.value for fit in Fit],
                    default=Fit.CROP.value,
                    tooltip="How a picture that is not square becomes one: crop takes the middle, pad keeps all of it "
                    "with nothing around, stretch keeps all of it distorted.",
                ),
                io.Image.Input(
                    "negative_image",
                    optional=True,
                    tooltip="A picture to move away from, in place of the neutral one. Acts through the CFG scale.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="What of the reference counts: white does, black does not."
                ),
            ],
            outputs=[ImagePromptSocket.Output("image_prompt", tooltip="For ApplyIPAdapter.")],
        )

    @classmethod
    def execute(
        cls,
        clip_vision: object,
        image: Tensor,
        fit: str,
        negative_image: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(encode_image_prompt(clip_vision, image, Fit(fit), negative_image, mask))  # type: ignore[arg-type]
