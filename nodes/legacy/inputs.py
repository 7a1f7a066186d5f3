"""Inputs that several of these nodes have, beside those that they share with the others."""

from __future__ import annotations

from typing import Any

from ...ipadapter.host.api import io
from ...ipadapter.legacy.migration.legacy_nodes import COMBINE
from ...ipadapter.legacy.migration.new_nodes import NEW_WEIGHT_TYPES
from ...ipadapter.prompts.prompt import Order
from ...ipadapter.strength.strength import Scaling
from ..inputs import choice, number, window
from ..sockets import ImagePromptSocket, InsightFaceSocket, IPAdapterSocket

ParamsSocket = io.Custom("IPADAPTER_PARAMS")
StrategySocket = io.Custom("WEIGHTS_STRATEGY")


def model() -> io.Model.Input:
    return io.Model.Input("model", tooltip="The checkpoint the adapter was made for.")


def ipadapter() -> IPAdapterSocket.Input:
    return IPAdapterSocket.Input("ipadapter", tooltip="From Load IP-Adapter or Find IP-Adapter.")


def embeds(name: str, tooltip: str, optional: bool = False) -> ImagePromptSocket.Input:
    return ImagePromptSocket.Input(name, optional=optional, tooltip=tooltip)


def weight(name: str = "weight", tooltip: str | None = None) -> io.Float.Input:
    usual = "How strongly it acts. A list of weights has one for each frame."
    return number(name, 1.0, (-1.0, 5.0), tooltip or usual)


def weight_type() -> io.Combo.Input:
    return io.Combo.Input(
        "weight_type",
        options=list(NEW_WEIGHT_TYPES),
        default=NEW_WEIGHT_TYPES[0],
        tooltip="In which layers it acts, and how strongly in each.",
    )


def noise(**more: Any) -> io.Float.Input:
    return io.Float.Input(
        "noise",
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="Above 0 a shuffled, noisy copy of the reference is moved away from.",
        **more,
    )


def combine_embeds(default: str = COMBINE[0], **more: Any) -> io.Combo.Input:
    return io.Combo.Input(
        "combine_embeds",
        options=list(COMBINE),
        default=default,
        optional=True,
        tooltip="What becomes of several references: concat shows them all, the others make one of them.",
        **more,
    )


def embeds_scaling(**more: Any) -> io.Combo.Input:
    tooltip = "What the weight scales. V only is the paper's."
    return choice("embeds_scaling", Scaling.VALUES, tooltip, optional=True, **more)


def order() -> io.Combo.Input:
    return choice(
        "order",
        Order.TOGETHER,
        "Whether every picture sees all references, or the first picture the first one, and so on.",
        optional=True,
        advanced=True,
    )


def middle_block() -> io.Boolean.Input:
    return io.Boolean.Input(
        "middle_block",
        default=True,
        optional=True,
        advanced=True,
        tooltip="Off leaves the middle block of the UNet out, as ComfyUI_IPAdapter_plus did by mistake.",
    )


def image_negative() -> io.Image.Input:
    return io.Image.Input("image_negative", optional=True, tooltip="A picture to move away from.")


def attn_mask() -> io.Mask.Input:
    return io.Mask.Input("attn_mask", optional=True, tooltip="Where in the output it acts.")


def clip_vision(
    tooltip: str = "The image encoder, where Find IP-Adapter did not find it.",
) -> io.ClipVision.Input:
    return io.ClipVision.Input("clip_vision", optional=True, tooltip=tooltip)


def insightface() -> InsightFaceSocket.Input:
    return InsightFaceSocket.Input(
        "insightface", optional=True, tooltip="What FaceID adapters read faces with, where no loader found it."
    )


def model_and_adapter() -> list[io.Input]:
    """What the image prompt is given to."""
    return [model(), ipadapter()]


def strength() -> list[io.Input]:
    """How strongly it acts, in which layers and when."""
    return [weight(), weight_type(), *window()]


def manner(**scaling: Any) -> list[io.Input]:
    """What the weight scales, and which pictures and layers follow."""
    return [embeds_scaling(**scaling), order(), middle_block()]


def surroundings() -> list[io.Input]:
    """What the reference may have beside it."""
    return [image_negative(), attn_mask(), clip_vision()]


def model_output() -> io.Model.Output:
    return io.Model.Output("MODEL", tooltip="The model with the image prompt.")
