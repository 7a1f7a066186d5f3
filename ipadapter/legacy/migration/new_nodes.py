"""The nodes of this pack that stand in for old ones, as a graph sees them: inputs in their order, outputs.

Sockets come first in a node that the front end saves, then widgets; each in the schema's order, required ones before
optional ones. A test holds this table to the schemas.
"""

from __future__ import annotations

from ...strength.presets import LAYER_PRESETS
from .forms import Form, Widget, advanced, by_id, choice, file_choice, number, outputs, sockets, switch, text, whole
from .legacy_nodes import (
    COMBINE,
    COMBINE_EMBEDS,
    FACE_PRESETS,
    FACE_WEIGHT,
    LEGACY_METHODS,
    LEGACY_PROVIDERS,
    NEGATIVE_MASK_ENCODER,
    SCALING_WIDGET,
    TIMINGS,
    WEIGHT_WIDGET,
    WINDOW_WIDGETS,
)

STANDARD, TEXT_FIRST = "standard", "prompt is more important"  # what the simplest old node calls its weight types
BOOSTED_STYLE = "style transfer precise with style_boost"
BOOSTED_COMPOSITION = "composition precise with composition_boost"
NEW_WEIGHT_TYPES = (*LAYER_PRESETS, STANDARD, TEXT_FIRST, BOOSTED_STYLE, BOOSTED_COMPOSITION)
ORDER_TOGETHER, FRAME_BY_FRAME = "together", "frame by frame"

NEW_MODEL_AND_ADAPTER = "model:MODEL ipadapter:IP_ADAPTER"

NEW_WEIGHT_TYPE = choice("weight_type", NEW_WEIGHT_TYPES)
ORDER_WIDGET = choice("order", (ORDER_TOGETHER, FRAME_BY_FRAME))
MIDDLE_WIDGET = switch("middle_block", True)
NOISE_WIDGET = number("noise", 0.0, 0.0, 1.0)


def combined(default: str = "concat") -> Widget:
    """The choice of a combination."""
    return choice("combine_embeds", COMBINE, default)


NEW_FORMS = by_id(
    Form("LoadIPAdapter", (), (file_choice("ip_adapter_name"),), outputs("ip_adapter:IP_ADAPTER")),
    Form(
        "FindIPAdapter",
        sockets("model:MODEL"),
        (Widget("preset", "COMBO", "PLUS (high strength)"),),
        outputs("model:MODEL ip_adapter:IP_ADAPTER clip_vision:CLIP_VISION insightface:INSIGHTFACE"),
    ),
    Form(
        "PrepareReferenceImage",
        sockets("image:IMAGE mask:MASK?"),
        (
            *(Widget("crop", "COMBO", "center"), whole("size", 224, 0, 4096)),
            *(number("sharpening", 0.0, 0.0, 1.0), number("margin", 0.1, 0.0, 2.0)),
        ),
        outputs("image:IMAGE mask:MASK"),
    ),
    Form(
        "ImagePromptNoise",
        sockets("image:IMAGE?"),
        (
            Widget("type", "COMBO", "fade"),
            number("strength", 1.0, 0.0, 1.0),
            number("blur", 0.0, 0.0, 32.0),
            whole("seed", 0, 0, 2**64 - 1, control=True),
            *advanced(whole("size", 224, 8, 4096)),
        ),
        outputs("image:IMAGE"),
    ),
    Form(
        "SaveImagePrompt",
        sockets("image_prompt:IMAGE_PROMPT image:IMAGE?"),
        (text("filename_prefix", "image_prompts/prompt"),),
    ),
    Form(
        "LoadImagePrompt",
        sockets("clip_vision:CLIP_VISION?"),
        (file_choice("image_prompt_name"),),
        outputs("image_prompt:IMAGE_PROMPT"),
    ),
    Form(
        "LegacyIPAdapter",
        sockets(f"{NEW_MODEL_AND_ADAPTER} image:IMAGE {NEGATIVE_MASK_ENCODER} insightface:INSIGHTFACE?"),
        (
            *(WEIGHT_WIDGET, NEW_WEIGHT_TYPE, *WINDOW_WIDGETS),
            *advanced(combined(), SCALING_WIDGET, ORDER_WIDGET, MIDDLE_WIDGET, text("layer_weights", long=True)),
            *advanced(number("style_boost", 1.0, -5.0, 5.0), number("composition_boost", 0.0, -5.0, 5.0)),
            *advanced(whole("enhance_tiles", 1, 1, 16), number("enhance_ratio", 1.0, 0.0, 1.0)),
            *advanced(FACE_WEIGHT, number("weight_kolors", 1.0, -1.0, 5.0), NOISE_WIDGET),
        ),
        outputs("MODEL:MODEL face_image:IMAGE"),
    ),
    Form(
        "LegacyIPAdapterTiled",
        sockets(f"{NEW_MODEL_AND_ADAPTER} image:IMAGE {NEGATIVE_MASK_ENCODER}"),
        (
            *(WEIGHT_WIDGET, NEW_WEIGHT_TYPE, *WINDOW_WIDGETS, number("sharpening", 0.0, 0.0, 1.0)),
            *(*advanced(combined()), SCALING_WIDGET, *advanced(ORDER_WIDGET, MIDDLE_WIDGET, NOISE_WIDGET)),
        ),
        outputs("MODEL:MODEL tiles:IMAGE masks:MASK"),
    ),
    Form(
        "LegacyIPAdapterStyleComposition",
        sockets(f"{NEW_MODEL_AND_ADAPTER} image_style:IMAGE image_composition:IMAGE {NEGATIVE_MASK_ENCODER}"),
        (
            *(number("weight_style", 1.0, -1.0, 5.0), number("weight_composition", 1.0, -1.0, 5.0)),
            *(switch("expand_style", False), *WINDOW_WIDGETS),
            *(*advanced(combined("average")), SCALING_WIDGET, *advanced(ORDER_WIDGET, MIDDLE_WIDGET)),
        ),
        outputs("MODEL:MODEL"),
    ),
    Form(
        "LegacyIPAdapterEncoder",
        sockets("ipadapter:IP_ADAPTER image:IMAGE mask:MASK? clip_vision:CLIP_VISION?"),
        (number("weight", 1.0, -1.0, 3.0),),
        outputs("pos_embed:IMAGE_PROMPT neg_embed:IMAGE_PROMPT"),
    ),
    Form(
        "LegacyIPAdapterFirstEncoder",
        sockets("clip_vision:CLIP_VISION image_1:IMAGE image_2:IMAGE? image_3:IMAGE? image_4:IMAGE?"),
        (NOISE_WIDGET, *(number(f"weight_{place}", 1.0, 0.0, 1.0) for place in range(1, 5))),
        outputs("EMBEDS:IMAGE_PROMPT"),
    ),
    Form(
        "LegacyIPAdapterCombineEmbeds",
        sockets(" ".join(f"embed{number}:IMAGE_PROMPT{'?' * (number > 1)}" for number in range(1, 6))),
        (choice("method", COMBINE_EMBEDS),),
        outputs("EMBEDS:IMAGE_PROMPT"),
    ),
    Form(
        "LegacyIPAdapterEmbeds",
        sockets(
            f"{NEW_MODEL_AND_ADAPTER} pos_embed:IMAGE_PROMPT neg_embed:IMAGE_PROMPT? attn_mask:MASK? "
            "clip_vision:CLIP_VISION?"
        ),
        (WEIGHT_WIDGET, NEW_WEIGHT_TYPE, *WINDOW_WIDGETS, SCALING_WIDGET, *advanced(ORDER_WIDGET, MIDDLE_WIDGET)),
        outputs("MODEL:MODEL"),
    ),
    Form(
        "LegacyIPAdapterRegion",
        sockets("image:IMAGE mask:MASK? positive:CONDITIONING? negative:CONDITIONING?"),
        (
            *(number("image_weight", 1.0, -1.0, 5.0), number("prompt_weight", 1.0, 0.0, 10.0)),
            *(NEW_WEIGHT_TYPE, *WINDOW_WIDGETS),
        ),
        outputs("IPADAPTER_PARAMS:IPADAPTER_PARAMS POSITIVE:CONDITIONING NEGATIVE:CONDITIONING"),
    ),
    Form(
        "LegacyIPAdapterCombineParams",
        sockets(" ".join(f"params_{number}:IPADAPTER_PARAMS{'?' * (number > 2)}" for number in range(1, 6))),
        outputs=outputs("IPADAPTER_PARAMS:IPADAPTER_PARAMS"),
    ),
    Form(
        "LegacyIPAdapterFromParams",
        sockets(
            f"{NEW_MODEL_AND_ADAPTER} ipadapter_params:IPADAPTER_PARAMS image_negative:IMAGE? clip_vision:CLIP_VISION?"
        ),
        (combined(), SCALING_WIDGET, *advanced(MIDDLE_WIDGET)),
        outputs("MODEL:MODEL"),
    ),
    Form(
        "LegacyIPAdapterWeights",
        sockets("weights_strategy:WEIGHTS_STRATEGY? image:IMAGE?"),
        (
            text("weights", "1.0, 0.0", long=True),
            choice("timing", TIMINGS, "linear"),
            *(whole("frames", 0, 0, 9999), whole("start_frame", 0, 0, 9999), whole("end_frame", 9999, 0, 9999)),
            *(whole("add_starting_frames", 0, 0, 9999), whole("add_ending_frames", 0, 0, 9999)),
            choice("method", LEGACY_METHODS),
        ),
        outputs(
            "weights:FLOAT weights_invert:FLOAT total_frames:INT image_1:IMAGE image_2:IMAGE "
            "weights_strategy:WEIGHTS_STRATEGY"
        ),
    ),
    Form(
        "LegacyIPAdapterCombineWeights",
        (),
        (number("weights_1", 0.0, 0.0, 1.0), number("weights_2", 0.0, 0.0, 1.0)),
        outputs("weights:FLOAT count:INT"),
    ),
    Form(
        "LegacyIPAdapterPromptSchedule",
        sockets("weights_strategy:WEIGHTS_STRATEGY"),
        (text("prompt", long=True),),
        outputs("prompt_schedule:STRING"),
    ),
    Form(
        "LoadInsightFace",
        (),
        (choice("provider", ("auto", *LEGACY_PROVIDERS)), file_choice("model_name")),
        outputs("insightface:INSIGHTFACE"),
    ),
    Form(
        "LegacyIPAdapterFaceIDLoader",
        sockets("model:MODEL"),
        (choice("preset", FACE_PRESETS), number("lora_strength", 0.6, 0.0, 1.0), choice("provider", LEGACY_PROVIDERS)),
        outputs("MODEL:MODEL ipadapter:IP_ADAPTER"),
    ),
)
