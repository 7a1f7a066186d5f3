"""Regions: image prompts, each in its own part of the picture, from one adapter in one pass."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..ipadapter.host.api import io
from ..ipadapter.host.node import Node
from ..ipadapter.host.sampling.conditioning import conds_within
from ..ipadapter.prompts.prompt import ImagePrompt, Overlap
from ..ipadapter.prompts.regions import add_region, in_range, place_in_region
from . import inputs
from .search import WORDS
from .sockets import PROMPTS, ImagePromptSocket


class ImagePromptRegion(Node):
    """Give an image prompt a place in the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImagePromptRegion",
            display_name="Image Prompt Region",
            category=PROMPTS,
            description="Gives an image prompt a part of the picture, and a text prompt with it. Chain one for each "
            "region through regions, then give the last to Apply IP-Adapter: all regions act in one pass with one "
            "adapter. Join the texts with Conditioning (Combine).",
            search_aliases=WORDS["ImagePromptRegion"],
            inputs=[
                inputs.image_prompt("What belongs in this region."),
                io.Mask.Input("mask", tooltip="The region: white is inside; soft edges fade. One, or one a picture."),
                inputs.weight("weight", 1.0, "Of this region, multiplied by the weight of Apply IP-Adapter."),
                inputs.choice(
                    "overlap",
                    Overlap.SHARE,
                    "Where regions lie over each other: share gives each its part, so that together they are "
                    "as strong as one; add lets each act in full.",
                ),
                ImagePromptSocket.Input("regions", optional=True, tooltip="The regions before this one."),
                io.Conditioning.Input("positive", optional=True, tooltip="What the text says of this region."),
                io.Conditioning.Input("negative", optional=True, tooltip="What this region shall not show."),
            ],
            outputs=[
                inputs.image_prompt_output("All regions so far: for Apply IP-Adapter."),
                io.Conditioning.Output("positive", tooltip="The text for this region only."),
                io.Conditioning.Output("negative", tooltip="The negative text for this region only."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image_prompt: ImagePrompt,
        mask: Tensor,
        weight: float,
        overlap: str,
        regions: ImagePrompt | None = None,
        positive: Any = None,
        negative: Any = None,
    ) -> io.NodeOutput:
        placed = place_in_region(image_prompt, mask, weight, Overlap(overlap))
        inside = in_range(mask)
        return io.NodeOutput(
            add_region(regions, placed), conds_within(positive, inside), conds_within(negative, inside)
        )
