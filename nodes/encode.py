"""Encoding: pictures to an image prompt."""

from __future__ import annotations

from torch import Tensor

from ..ipadapter.host.api import io
from ..ipadapter.host.encoders.encoder import encode_references, usual_fit
from ..ipadapter.host.node import Node
from ..ipadapter.images.pixels import Fit
from ..ipadapter.images.tiles import Tiling
from ..ipadapter.prompts.prompt import Order
from ..ipadapter.prompts.reading import Reading
from ..ipadapter.prompts.weights import read_image_weights
from . import inputs
from .search import WORDS
from .sockets import CATEGORY

AUTO_FIT = "auto"
FITS: dict[str, Fit | Tiling | None] = {AUTO_FIT: None, **{fit.value: fit for fit in (*Fit, *Tiling)}}


def fit_input() -> io.Combo.Input:
    """How a picture becomes the square that the encoder sees."""
    return io.Combo.Input(
        "fit",
        options=list(FITS),
        default=AUTO_FIT,
        tooltip="How a picture that is not square becomes one: auto is crop for CLIP and stretch for SigLIP. "
        "crop takes the middle, pad keeps all of it with nothing around, stretch keeps all of it distorted. "
        "tiles reads all of it as several squares, tiles in place lets each act where it lies in the picture.",
    )


def detail_inputs() -> list[io.Input]:
    """A closer look at the picture."""
    return [
        inputs.whole(
            "detail",
            1,
            (1, 4),
            "Above 1 the picture is also read closely, as so many by so many tiles, which add detail.",
            optional=True,
            advanced=True,
        ),
        inputs.weight(
            "detail_weight",
            1.0,
            "Weight of what the close look adds, beside the picture itself. 0 leaves it out.",
            optional=True,
            advanced=True,
        ),
    ]


class EncodeImagePrompt(Node):
    """Make an image prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EncodeImagePrompt",
            display_name="Encode Image Prompt",
            category=CATEGORY,
            description="Turns reference images into a prompt. A batch is several references to one prompt. The prompt "
            "fits every adapter made for the same image encoder.",
            search_aliases=WORDS["EncodeImagePrompt"],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision", tooltip="The image encoder the adapter was made for, most often ViT-H."
                ),
                inputs.image(),
                fit_input(),
                io.Image.Input(
                    "negative_image",
                    optional=True,
                    tooltip="A picture to move away from, in place of the neutral one. Acts through the CFG scale.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="What of the reference counts: white does, black does not."
                ),
                inputs.order_of("references"),
                inputs.weights_of("references"),
                *detail_inputs(),
            ],
            outputs=[inputs.image_prompt_output()],
        )

    @classmethod
    def execute(
        cls,
        clip_vision: object,
        image: Tensor,
        fit: str,
        negative_image: Tensor | None = None,
        mask: Tensor | None = None,
        order: str = Order.TOGETHER.value,
        weights: str = "",
        detail: int = 1,
        detail_weight: float = 1.0,
    ) -> io.NodeOutput:
        how = FITS[fit] or usual_fit(clip_vision)
        reading = Reading(how, Order(order), read_image_weights(weights), detail, detail_weight)
        return io.NodeOutput(encode_references(clip_vision, image, reading, negative_image, mask))
