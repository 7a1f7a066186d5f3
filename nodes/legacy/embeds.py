"""The old nodes that encode, combine and apply in three steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...ipadapter.host.adapters.adapter import Adapter
from ...ipadapter.host.api import ClipVisionModel, ModelPatcher, io
from ...ipadapter.host.legacy.actions import Sources, apply_prompt, combine_embeds, encode_pair, pair_prompts
from ...ipadapter.host.node import Node
from ...ipadapter.host.prompts.files import with_encoder
from ...ipadapter.legacy.migration.legacy_nodes import COMBINE_EMBEDS
from ...ipadapter.legacy.settings import LegacySettings
from ...ipadapter.prompts.prompt import ImagePrompt, Order
from ...ipadapter.strength.strength import Scaling
from .. import inputs as shared
from ..sockets import ImagePromptSocket
from . import inputs
from .schema import stand_in


class LegacyIPAdapterEncoder(Node):
    """Encode."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterEncoder",
            display_name="IPAdapter Encoder",
            description="In new graphs use Encode Image Prompt.",
            search_aliases=["IPAdapterEncoder", "encode embeds", "image embeds"],
            inputs=[
                inputs.ipadapter(),
                shared.image(),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=-1.0,
                    max=3.0,
                    step=0.01,
                    tooltip="What the encoder's features are multiplied by, before the adapter reads them.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="What of the reference counts."),
                inputs.clip_vision(),
            ],
            outputs=[
                ImagePromptSocket.Output("pos_embed", tooltip="The image prompt."),
                ImagePromptSocket.Output("neg_embed", tooltip="What stands for no image."),
            ],
        )

    @classmethod
    def execute(
        cls,
        ipadapter: Adapter,
        image: Tensor,
        weight: float,
        mask: Tensor | None = None,
        clip_vision: ClipVisionModel | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(*encode_pair(Sources(ipadapter, clip_vision), image, weight, mask))


class LegacyIPAdapterCombineEmbeds(Node):
    """Several image prompts as one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        more = [inputs.embeds(f"embed{number}", "Another image prompt.", optional=True) for number in range(2, 6)]
        return stand_in(
            node_id="LegacyIPAdapterCombineEmbeds",
            display_name="IPAdapter Combine Embeds",
            description="In new graphs use Combine Image Prompts.",
            search_aliases=["IPAdapterCombineEmbeds", "combine embeds", "average embeds"],
            inputs=[
                inputs.embeds("embed1", "An image prompt."),
                io.Combo.Input(
                    "method",
                    options=list(COMBINE_EMBEDS),
                    default=COMBINE_EMBEDS[0],
                    tooltip="concat shows all images, the others make one of them.",
                ),
                *more,
            ],
            outputs=[ImagePromptSocket.Output("EMBEDS", tooltip="One image prompt of all.")],
        )

    @classmethod
    def execute(
        cls,
        embed1: ImagePrompt,
        method: str,
        embed2: ImagePrompt | None = None,
        embed3: ImagePrompt | None = None,
        embed4: ImagePrompt | None = None,
        embed5: ImagePrompt | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(combine_embeds((embed1, embed2, embed3, embed4, embed5), method))


class LegacyIPAdapterEmbeds(Node):
    """Apply an image prompt, with another one as its negative."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterEmbeds",
            display_name="IPAdapter Embeds",
            description="In new graphs use Apply IP-Adapter.",
            search_aliases=["IPAdapterEmbeds", "IPAdapterEmbedsBatch", "apply embeds"],
            inputs=[
                *inputs.model_and_adapter(),
                inputs.embeds("pos_embed", "The image prompt."),
                *inputs.strength(),
                *inputs.manner(),
                inputs.embeds("neg_embed", "An image prompt to move away from.", optional=True),
                inputs.attn_mask(),
                inputs.clip_vision("The image encoder that made the embeds, where their file does not say it."),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ipadapter: Adapter,
        pos_embed: ImagePrompt,
        weight: float | Sequence[float],
        weight_type: str,
        start_at: float,
        end_at: float,
        embeds_scaling: str = Scaling.VALUES.value,
        order: str = Order.TOGETHER.value,
        middle_block: bool = True,
        neg_embed: ImagePrompt | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVisionModel | None = None,
    ) -> io.NodeOutput:
        settings = LegacySettings(
            weight, weight_type, start_at, end_at, Scaling(embeds_scaling), Order(order), middle_block
        )
        prompt = pair_prompts(with_encoder(pos_embed, clip_vision or ipadapter.clip_vision), neg_embed, Order(order))
        return io.NodeOutput(apply_prompt(model, ipadapter, prompt, settings, attn_mask))
