"""The node of the old pack's first version that no later one can stand for."""

from __future__ import annotations

from torch import Tensor

from ...ipadapter.host.api import ClipVisionModel, io
from ...ipadapter.host.legacy.first import WeighedImages, encode_weighed
from ...ipadapter.host.node import Node
from .. import inputs as shared
from ..sockets import ImagePromptSocket
from . import inputs
from .schema import stand_in

PLACES = range(1, 5)
OTHERS = PLACES[1:]


def weight_of(place: int) -> io.Float.Input:
    """How much one of the references counts."""
    tooltip = f"How much image_{place} counts: what the encoder says of it is multiplied by the square of this."
    return io.Float.Input(
        f"weight_{place}", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=tooltip, optional=place in OTHERS
    )


class LegacyIPAdapterFirstEncoder(Node):
    """Encode up to four references, each with a weight."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        others = [io.Image.Input(f"image_{place}", optional=True, tooltip="Another reference.") for place in OTHERS]
        return stand_in(
            node_id="LegacyIPAdapterFirstEncoder",
            display_name="Encode IPAdapter Image",
            description="In new graphs use Encode Image Prompt.",
            search_aliases=["IPAdapterEncoder", "encode embeds", "image embeds"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="The image encoder the adapter was made for."),
                shared.image("A reference, or a batch of references.", "image_1"),
                inputs.noise(),
                weight_of(1),
                *others,
                *(weight_of(place) for place in OTHERS),
            ],
            outputs=[ImagePromptSocket.Output("EMBEDS", tooltip="The image prompt, with what stands for no image.")],
        )

    @classmethod
    def execute(
        cls,
        clip_vision: ClipVisionModel,
        image_1: Tensor,
        noise: float,
        weight_1: float,
        image_2: Tensor | None = None,
        image_3: Tensor | None = None,
        image_4: Tensor | None = None,
        weight_2: float = 1.0,
        weight_3: float = 1.0,
        weight_4: float = 1.0,
    ) -> io.NodeOutput:
        images, weights = (image_1, image_2, image_3, image_4), (weight_1, weight_2, weight_3, weight_4)
        given = [
            WeighedImages(image, weight) for image, weight in zip(images, weights, strict=True) if image is not None
        ]
        return io.NodeOutput(encode_weighed(clip_vision, given, noise))
