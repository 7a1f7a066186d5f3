"""Inputs that several of these nodes have."""

from __future__ import annotations

from ...ipadapter.host.api import io
from ...ipadapter.legacy.migration.new_nodes import WEIGHT_TYPES
from ...ipadapter.legacy.migration.old_nodes import COMBINE
from ...ipadapter.prompts.prompt import Order
from ...ipadapter.strength.strength import Scaling
from ..sockets import CATEGORY, ImagePromptSocket, InsightFaceSocket, IPAdapterSocket

COMPATIBILITY = f"{CATEGORY}/compatibility"
ParamsSocket = io.Custom("IPADAPTER_PARAMS")
StrategySocket = io.Custom("WEIGHTS_STRATEGY")


def model() -> io.Model.Input:
    return io.Model.Input("model", tooltip="The checkpoint the adapter was made for.")


def ipadapter() -> IPAdapterSocket.Input:
    return IPAdapterSocket.Input("ipadapter", tooltip="From Load IP-Adapter or Find IP-Adapter.")


def image(tooltip: str = "The reference, or a batch of references.", name: str = "image") -> io.Image.Input:
    return io.Image.Input(name, tooltip=tooltip)


def embeds(name: str, tooltip: str, optional: bool = False) -> ImagePromptSocket.Input:
    return ImagePromptSocket.Input(name, optional=optional, tooltip=tooltip)


def weight(name: str = "weight", tooltip: str | None = None) -> io.Float.Input:
    usual = "How strongly it acts. A list of weights has one for each frame."
    return io.Float.Input(name, default=1.0, min=-1.0, max=5.0, step=0.05, tooltip=tooltip or usual)


def weight_type() -> io.Combo.Input:
    return io.Combo.Input(
        "weight_type",
        options=list(WEIGHT_TYPES),
        default=WEIGHT_TYPES[0],
        tooltip="In which layers it acts, and how strongly in each.",
    )


def window() -> list[io.Float.Input]:
    return [
        io.Float.Input(
            "start_at", default=0.0, min=0.0, max=1.0, step=0.001, tooltip="When it begins: 0 is the first step."
        ),
        io.Float.Input(
            "end_at", default=1.0, min=0.0, max=1.0, step=0.001, tooltip="When it ends: 1 is the last step."
        ),
    ]


def combine_embeds(default: str = COMBINE[0]) -> io.Combo.Input:
    return io.Combo.Input(
        "combine_embeds",
        options=list(COMBINE),
        default=default,
        optional=True,
        tooltip="What becomes of several references: concat shows them all, the others make one of them.",
    )


def embeds_scaling() -> io.Combo.Input:
    return io.Combo.Input(
        "embeds_scaling",
        options=[scaling.value for scaling in Scaling],
        default=Scaling.VALUES.value,
        optional=True,
        tooltip="What the weight scales. V only is the paper's.",
    )


def order() -> io.Combo.Input:
    return io.Combo.Input(
        "order",
        options=[order.value for order in Order],
        default=Order.TOGETHER.value,
        optional=True,
        tooltip="Whether every picture sees all references, or the first picture the first one, and so on.",
    )


def middle_block() -> io.Boolean.Input:
    return io.Boolean.Input(
        "middle_block",
        default=True,
        optional=True,
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


def model_output() -> io.Model.Output:
    return io.Model.Output("MODEL", tooltip="The model with the image prompt.")
