"""The old nodes for references with a place in the picture."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...ipadapter.host.adapters.adapter import Adapter
from ...ipadapter.host.api import ClipVisionModel, ModelPatcher, io
from ...ipadapter.host.legacy.actions import Sources, apply_regions, place_text
from ...ipadapter.host.legacy.params import Params, RegionParams, join_params, params_of, regions_of
from ...ipadapter.host.legacy.reading import LegacyReading
from ...ipadapter.host.node import Node
from ...ipadapter.legacy.settings import LegacySettings
from ...ipadapter.strength.strength import Scaling
from .. import inputs as shared
from . import inputs
from .schema import stand_in


class LegacyIPAdapterRegion(Node):
    """A reference and text prompts with a place in the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterRegion",
            display_name="IPAdapter Regional Conditioning",
            description="In new graphs use Image Prompt Region.",
            search_aliases=["IPAdapterRegionalConditioning", "regional conditioning", "regional prompt"],
            inputs=[
                shared.image(),
                inputs.weight("image_weight", "How strongly the reference acts."),
                shared.number("prompt_weight", 1.0, (0.0, 10.0), "How strongly the text prompts act within the mask."),
                inputs.weight_type(),
                *shared.window(),
                io.Mask.Input("mask", optional=True, tooltip="Where it acts; everywhere without one."),
                io.Conditioning.Input("positive", optional=True, tooltip="A text prompt for the same place."),
                io.Conditioning.Input("negative", optional=True, tooltip="A negative text prompt for the same place."),
            ],
            outputs=[
                inputs.ParamsSocket.Output("IPADAPTER_PARAMS", tooltip="For IPAdapter from Params."),
                io.Conditioning.Output("POSITIVE", tooltip="The text prompt in its place."),
                io.Conditioning.Output("NEGATIVE", tooltip="The negative text prompt in its place."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        image_weight: float | Sequence[float],
        prompt_weight: float,
        weight_type: str,
        start_at: float,
        end_at: float,
        mask: Tensor | None = None,
        positive: list | None = None,
        negative: list | None = None,
    ) -> io.NodeOutput:
        region = RegionParams(image, mask, image_weight, weight_type, start_at, end_at)
        texts = (place_text(text, mask, prompt_weight) for text in (positive, negative))
        return io.NodeOutput(params_of(region), *texts)


class LegacyIPAdapterCombineParams(Node):
    """Several such references."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = [f"params_{number}" for number in range(1, 6)]
        return stand_in(
            node_id="LegacyIPAdapterCombineParams",
            display_name="IPAdapter Combine Params",
            description="In new graphs connect one Image Prompt Region to the next.",
            search_aliases=["IPAdapterCombineParams", "combine params", "combine regions"],
            inputs=[
                inputs.ParamsSocket.Input(name, optional=index > 1, tooltip="A reference with its place, or several.")
                for index, name in enumerate(names)
            ],
            outputs=[inputs.ParamsSocket.Output("IPADAPTER_PARAMS", tooltip="All of them.")],
        )

    @classmethod
    def execute(
        cls,
        params_1: Params,
        params_2: Params,
        params_3: Params | None = None,
        params_4: Params | None = None,
        params_5: Params | None = None,
    ) -> io.NodeOutput:
        several = (params_1, params_2, params_3, params_4, params_5)
        return io.NodeOutput(join_params([one for one in several if one is not None]))


class LegacyIPAdapterFromParams(Node):
    """Encode and apply references, each in its place."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterFromParams",
            display_name="IPAdapter from Params",
            description="In new graphs use Image Prompt Region and Apply IP-Adapter.",
            search_aliases=["IPAdapterFromParams", "apply regions", "regional conditioning"],
            inputs=[
                *inputs.model_and_adapter(),
                inputs.ParamsSocket.Input("ipadapter_params", tooltip="References with their places."),
                inputs.combine_embeds(),
                inputs.embeds_scaling(),
                inputs.middle_block(),
                inputs.image_negative(),
                inputs.clip_vision(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ipadapter: Adapter,
        ipadapter_params: Params,
        combine_embeds: str = "concat",
        embeds_scaling: str = Scaling.VALUES.value,
        middle_block: bool = True,
        image_negative: Tensor | None = None,
        clip_vision: ClipVisionModel | None = None,
    ) -> io.NodeOutput:
        settings = LegacySettings(scaling=Scaling(embeds_scaling), middle_block=middle_block)
        sources = Sources(ipadapter, clip_vision, image_negative)
        reading = LegacyReading(combine_embeds)
        return io.NodeOutput(apply_regions(model, sources, regions_of(ipadapter_params), reading, settings))
