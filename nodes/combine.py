"""Combining: several image prompts to one."""

from __future__ import annotations

from ..ipadapter.host.api import io
from ..ipadapter.host.node import Node
from ..ipadapter.prompts.combining import Combination, combine_prompts
from ..ipadapter.prompts.prompt import ImagePrompt
from ..ipadapter.prompts.weights import read_image_weights
from . import inputs
from .search import WORDS
from .sockets import PROMPTS


def prompts_input() -> io.Autogrow.Input:
    """As many prompts as are linked."""
    row = io.Autogrow.TemplatePrefix(inputs.image_prompt(), prefix="image_prompt", min=2, max=10)
    return io.Autogrow.Input(
        "image_prompts", template=row, tooltip="Two to ten prompts, made with the same image encoder."
    )


class CombineImagePrompts(Node):
    """Make one image prompt of several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CombineImagePrompts",
            display_name="Combine Image Prompts",
            category=PROMPTS,
            description="Makes one image prompt of several, each with a weight: side by side, or mixed into one image.",
            search_aliases=WORDS["CombineImagePrompts"],
            inputs=[
                inputs.choice(
                    "how",
                    Combination.CONCAT,
                    "concat keeps all images side by side. The others mix their features into one image: "
                    "average with the weights 0.7, 0.3 lies between two prompts, subtract takes the others away from "
                    "the first.",
                ),
                prompts_input(),
                io.String.Input(
                    "weights",
                    default="",
                    optional=True,
                    tooltip="One number for each prompt or for each image, such as 1, 0.5. Empty: 1 for each.",
                ),
            ],
            outputs=[inputs.image_prompt_output()],
        )

    @classmethod
    def execute(cls, how: str, image_prompts: dict[str, ImagePrompt], weights: str = "") -> io.NodeOutput:
        prompts = list(image_prompts.values())
        return io.NodeOutput(combine_prompts(prompts, Combination(how), read_image_weights(weights)))
