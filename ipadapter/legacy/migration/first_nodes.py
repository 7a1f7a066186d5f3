"""The nodes of ComfyUI_IPAdapter_plus before it was written anew (version 1, until its commit 6a411dc), and a node of
another pack that has a name of version 2.

Inputs were added over time, each behind the others, so that a node that was saved earlier has fewer of them. Only the
encoder changed its inputs, twice, and the node that applies took an encoded picture in its first two weeks.
"""

from __future__ import annotations

from .forms import Form, Widget, choice, file_choice, number, outputs, sockets, switch, whole
from .legacy_nodes import EMBEDS, IMAGE, MODEL, WINDOW_WIDGETS

FIRST_SCALINGS = ("original", "linear", "channel penalty")
FIRST_CROPS = ("center", "top", "bottom", "left", "right")

FIRST_ON_IMAGE = "ipadapter:IPADAPTER clip_vision:CLIP_VISION image:IMAGE model:MODEL"
FIRST_ON_FACE = "ipadapter:IPADAPTER clip_vision:CLIP_VISION insightface:INSIGHTFACE image:IMAGE model:MODEL"
FIRST_NOISE = number("noise", 0.0)
FIRST_WEIGHT_TYPE = choice("weight_type", FIRST_SCALINGS)
UNFOLD = switch("unfold_batch", False)


def first_strength(weight: float = 1.0) -> tuple[Widget, ...]:
    """How strongly, and when."""
    return number("weight", weight), FIRST_NOISE, FIRST_WEIGHT_TYPE, *WINDOW_WIDGETS


FIRST_APPLY = Form(
    "IPAdapterApply",
    sockets(f"{FIRST_ON_IMAGE} attn_mask:MASK? insightface:INSIGHTFACE?"),
    (*first_strength(), UNFOLD),
    MODEL,
)
FIRST_APPLY_FACE = Form(
    "IPAdapterApplyFaceID",
    sockets(f"{FIRST_ON_FACE} attn_mask:MASK?"),
    (*first_strength(), switch("faceid_v2", False), number("weight_v2", 1.0), UNFOLD),
    MODEL,
)
FIRST_TILES = Form(
    "IPAdapterTilesMasked",
    sockets(FIRST_ON_IMAGE),
    (*first_strength(0.7), whole("short_side_tiles", 1), number("tile_weight", 0.6)),
    MODEL,
)
FIRST_APPLY_EMBEDS = Form(
    "IPAdapterApplyEncoded",
    sockets("ipadapter:IPADAPTER embeds:EMBEDS model:MODEL attn_mask:MASK?"),
    (number("weight", 1.0), FIRST_WEIGHT_TYPE, *WINDOW_WIDGETS, UNFOLD),
    MODEL,
)
FIRST_ENCODER = Form(
    "IPAdapterEncoder",
    sockets("clip_vision:CLIP_VISION image_1:IMAGE image_2:IMAGE? image_3:IMAGE? image_4:IMAGE?"),
    (switch("ipadapter_plus", False), FIRST_NOISE, *(number(f"weight_{place}", 1.0) for place in range(1, 5))),
    EMBEDS,
)
EARLIEST_ENCODER = Form(
    "IPAdapterEncoder",
    sockets("clip_vision:CLIP_VISION image:IMAGE"),
    (switch("plus", False), FIRST_NOISE),
    EMBEDS,
)
FIRST_BATCH = Form("IPAdapterBatchEmbeds", sockets("embed1:EMBEDS embed2:EMBEDS"), outputs=EMBEDS)
FIRST_FACES = Form(
    "InsightFaceLoader", (), (choice("provider", ("CPU", "CUDA", "ROCM")),), outputs("INSIGHTFACE:INSIGHTFACE")
)
FIRST_PREPARE_FACE = Form(
    "PrepImageForInsightFace",
    sockets("image:IMAGE"),
    (choice("crop_position", FIRST_CROPS), number("sharpening", 0.0), switch("pad_around", True)),
    IMAGE,
)

EARLIEST_APPLY = Form(
    "IPAdapterApply",
    sockets("model:MODEL ipadapter:IPADAPTER clip_vision_output:CLIP_VISION_OUTPUT mask:MASK?"),
    (number("weight", 1.0),),
    MODEL,
)
EARLIEST_ENCODE = Form(
    "IPAdapterCLIPVisionEncode",
    sockets("clip_vision:CLIP_VISION image:IMAGE"),
    outputs=outputs("CLIP_VISION_OUTPUT:CLIP_VISION_OUTPUT"),
)

LAKSJDJF_IPADAPTER = Form(  # of laksjdjf/IPAdapter-ComfyUI
    "IPAdapter",
    sockets("model:MODEL image:IMAGE clip_vision:CLIP_VISION"),
    (number("weight", 1.0), file_choice("model_name"), choice("dtype", ("fp16", "fp32"))),
    outputs("MODEL:MODEL CLIP_VISION_OUTPUT:CLIP_VISION_OUTPUT"),
)
