"""Pictures before they are encoded: references made ready, and noise."""

from __future__ import annotations

from torch import Tensor

from ..ipadapter.host.api import io
from ..ipadapter.host.node import Node
from ..ipadapter.images.noise import Noise, make_noise
from ..ipadapter.images.references import ReferenceCrop, prepare_reference
from . import inputs
from .search import WORDS
from .sockets import CATEGORY, PROMPTS


def square_inputs() -> list[io.Input]:
    """The square that is cut out, and its size."""
    return [
        inputs.choice(
            "crop",
            ReferenceCrop.CENTER,
            "The part that becomes the square. to mask takes what the mask marks, pad keeps all and "
            "adds grey, none keeps all in its shape.",
        ),
        inputs.whole(
            "size",
            224,
            (0, 4096),
            "Side of the square in pixels: 224 for most image encoders, 336 for that of Kolors. 0 "
            "keeps the size, which tiles and detail need.",
        ),
    ]


class PrepareReferenceImage(Node):
    """ReferenceCrop, resize and sharpen reference images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PrepareReferenceImage",
            display_name="Prepare Reference Image",
            category=CATEGORY,
            description="Crops a reference image to a square or to a mask, brings it to the size of the image encoder "
            "and sharpens it.",
            search_aliases=WORDS["PrepareReferenceImage"],
            inputs=[
                inputs.image(),
                *square_inputs(),
                inputs.fraction("sharpening", 0.0, "0 is none. Brings back what resizing takes from fine detail."),
                inputs.number(
                    "margin",
                    0.1,
                    (0.0, 2.0),
                    "With to mask: what is left on each side of what is marked, as a part of its size.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="What counts, and what to mask crops to."),
            ],
            outputs=[
                io.Image.Output("image", tooltip="For Encode Image Prompt."),
                io.Mask.Output("mask", tooltip="The mask, cropped alike; black where pad added something."),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, crop: str, size: int, sharpening: float, margin: float, mask: Tensor | None = None
    ) -> io.NodeOutput:
        made = prepare_reference(image, mask, ReferenceCrop(crop), size, sharpening, margin)
        return io.NodeOutput(made.image, made.mask)


def noise_inputs() -> list[io.Input]:
    """What noise, how much, and how fine."""
    return [
        inputs.choice(
            "type",
            Noise.FADE,
            "fade mixes noise in, dissolve puts it in some of the pixels, gaussian adds it, shuffle "
            "moves the picture's own pixels about.",
        ),
        inputs.fraction("strength", 1.0, "0 leaves the picture as it is, 1 is all noise."),
        io.Float.Input(
            "blur",
            default=0.0,
            min=0.0,
            max=32.0,
            step=0.5,
            tooltip="Standard deviation in pixels of a blur over the result.",
        ),
    ]


class ImagePromptNoise(Node):
    """Make noise, most often for the negative image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImagePromptNoise",
            display_name="Image Prompt Noise",
            category=PROMPTS,
            description="Makes a noise image, or mixes noise into a picture: a negative image for Encode Image Prompt, "
            "to move away from noise or from a picture's colours.",
            search_aliases=WORDS["ImagePromptNoise"],
            inputs=[
                *noise_inputs(),
                inputs.seed("The same seed makes the same noise.", control=io.ControlAfterGenerate.fixed),
                inputs.whole(
                    "size", 224, (8, 4096), "Side in pixels of the noise where no image is connected.", advanced=True
                ),
                io.Image.Input(
                    "image", optional=True, tooltip="What the noise is mixed into. Without it: a grey square."
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="For the negative image of Encode Image Prompt.")],
        )

    @classmethod
    def execute(
        cls, type: str, strength: float, blur: float, seed: int, size: int, image: Tensor | None = None
    ) -> io.NodeOutput:
        return io.NodeOutput(make_noise(image, Noise(type), strength, blur, seed, size))
