"""The nodes of ComfyUI_IPAdapter_plus (version 2): inputs in their order, defaults, options, outputs.

None of them has a seed, so none has the front end's hidden value behind it.
"""

from __future__ import annotations

from .forms import Form, Output, Widget, by_id, choice, file_choice, number, outputs, sockets, switch, text, whole

LEGACY_WEIGHT_TYPES = (
    "linear",
    "ease in",
    "ease out",
    "ease in-out",
    "reverse in-out",
    "weak input",
    "weak output",
    "weak middle",
    "strong middle",
    "style transfer",
    "composition",
    "strong style transfer",
    "style and composition",
    "style transfer precise",
    "composition precise",
)
SIMPLE_TYPES = ("standard", "prompt is more important", "style transfer")
COMBINE = ("concat", "add", "subtract", "average", "norm average")
COMBINE_EMBEDS = (*COMBINE, "max", "min")
SCALINGS = ("V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty")
TIMINGS = ("custom", "linear", "ease_in_out", "ease_in", "ease_out", "random")
LEGACY_METHODS = ("full batch", "shift batches", "alternate batches")
NOISES = ("fade", "dissolve", "gaussian", "shuffle")
RESAMPLING = ("LANCZOS", "BICUBIC", "HAMMING", "BILINEAR", "BOX", "NEAREST")
LEGACY_CROPS = ("top", "bottom", "left", "right", "center", "pad")
LEGACY_PRESETS = (
    "LIGHT - SD1.5 only (low strength)",
    "STANDARD (medium strength)",
    "VIT-G (medium strength)",
    "PLUS (high strength)",
    "PLUS FACE (portraits)",
    "FULL FACE - SD1.5 only (portraits stronger)",
)
FACE_PRESETS = (
    "FACEID",
    "FACEID PLUS - SD1.5 only",
    "FACEID PLUS V2",
    "FACEID PORTRAIT (style transfer)",
    "FACEID PORTRAIT UNNORM - SDXL only (strong)",
)
COMMUNITY_PRESETS = ("Composition", "Kolors")
LEGACY_PROVIDERS = ("CPU", "CUDA", "ROCM", "DirectML", "OpenVINO", "CoreML")

LEGACY_MODEL_AND_ADAPTER = "model:MODEL ipadapter:IPADAPTER"
NEGATIVE_MASK_ENCODER = "image_negative:IMAGE? attn_mask:MASK? clip_vision:CLIP_VISION?"
ON_IMAGE = sockets(f"{LEGACY_MODEL_AND_ADAPTER} image:IMAGE {NEGATIVE_MASK_ENCODER}")
ON_FACE = sockets(f"{LEGACY_MODEL_AND_ADAPTER} image:IMAGE {NEGATIVE_MASK_ENCODER} insightface:INSIGHTFACE?")
ON_TWO_IMAGES = sockets(f"{LEGACY_MODEL_AND_ADAPTER} image_style:IMAGE image_composition:IMAGE {NEGATIVE_MASK_ENCODER}")
ON_EMBEDS = sockets(
    f"{LEGACY_MODEL_AND_ADAPTER} pos_embed:EMBEDS neg_embed:EMBEDS? attn_mask:MASK? clip_vision:CLIP_VISION?"
)

WEIGHT_WIDGET = number("weight", 1.0, -1.0, 5.0)
FACE_WEIGHT = number("weight_faceidv2", 1.0, -1.0, 5.0)
LEGACY_WEIGHT_TYPE = choice("weight_type", LEGACY_WEIGHT_TYPES)
COMBINED = choice("combine_embeds", COMBINE)
WINDOW_WIDGETS = (number("start_at", 0.0, 0.0, 1.0), number("end_at", 1.0, 0.0, 1.0))
SCALING_WIDGET = choice("embeds_scaling", SCALINGS)
CHUNK_WIDGET = whole("encode_batch_size", 0)
SHARPENING = number("sharpening", 0.0)
TWO_WEIGHTS = (number("weight_style", 1.0), number("weight_composition", 1.0), switch("expand_style", False))

MODEL = outputs("MODEL:MODEL")
MODEL_AND_FACE = outputs("MODEL:MODEL face_image:IMAGE")
MODEL_AND_TILES = outputs("MODEL:MODEL tiles:IMAGE masks:MASK")
PARAMS = outputs("IPADAPTER_PARAMS:IPADAPTER_PARAMS")
EMBEDS = outputs("EMBEDS:EMBEDS")
IMAGE = outputs("IMAGE:IMAGE")
LOADED = outputs("model:MODEL ipadapter:IPADAPTER")
SCHEDULED = outputs(
    "weights:FLOAT weights_invert:FLOAT total_frames:INT image_1:IMAGE image_2:IMAGE weights_strategy:WEIGHTS_STRATEGY"
)


def apply_form(node_id: str, *widgets: Widget) -> Form:
    """A node that encodes one batch of images and applies it."""
    return Form(node_id, ON_IMAGE, widgets, MODEL)


def face_form(node_id: str, *weights: Widget) -> Form:
    """A node that does the same with faces."""
    return Form(
        node_id,
        ON_FACE,
        (WEIGHT_WIDGET, FACE_WEIGHT, *weights, LEGACY_WEIGHT_TYPE, COMBINED, *WINDOW_WIDGETS, SCALING_WIDGET),
        MODEL_AND_FACE,
    )


def boost_form(node_id: str, boost: Widget) -> Form:
    """A node with one of the precise weight types."""
    return apply_form(node_id, WEIGHT_WIDGET, boost, COMBINED, *WINDOW_WIDGETS, SCALING_WIDGET)


def loader_form(node_id: str, presets: tuple[str, ...], *more: Widget, model: str = "model") -> Form:
    """A loader by preset."""
    named = (Output(model, "MODEL"), LOADED[1])
    return Form(node_id, sockets("model:MODEL ipadapter:IPADAPTER?"), (choice("preset", presets), *more), named)


LEGACY_FORMS = by_id(
    Form(
        "IPAdapter",
        sockets(f"{LEGACY_MODEL_AND_ADAPTER} image:IMAGE attn_mask:MASK?"),
        (WEIGHT_WIDGET, *WINDOW_WIDGETS, choice("weight_type", SIMPLE_TYPES)),
        MODEL,
    ),
    apply_form("IPAdapterAdvanced", WEIGHT_WIDGET, LEGACY_WEIGHT_TYPE, COMBINED, *WINDOW_WIDGETS, SCALING_WIDGET),
    apply_form("IPAdapterBatch", WEIGHT_WIDGET, LEGACY_WEIGHT_TYPE, *WINDOW_WIDGETS, SCALING_WIDGET, CHUNK_WIDGET),
    face_form("IPAdapterFaceID"),
    face_form("IPAdapterFaceIDKolors", number("weight_kolors", 1.0)),
    face_form("IPAAdapterFaceIDBatch"),
    Form(
        "IPAdapterTiled",
        ON_IMAGE,
        (WEIGHT_WIDGET, LEGACY_WEIGHT_TYPE, COMBINED, *WINDOW_WIDGETS, SHARPENING, SCALING_WIDGET),
        MODEL_AND_TILES,
    ),
    Form(
        "IPAdapterTiledBatch",
        ON_IMAGE,
        (WEIGHT_WIDGET, LEGACY_WEIGHT_TYPE, *WINDOW_WIDGETS, SHARPENING, SCALING_WIDGET, CHUNK_WIDGET),
        MODEL_AND_TILES,
    ),
    Form("IPAdapterEmbeds", ON_EMBEDS, (WEIGHT_WIDGET, LEGACY_WEIGHT_TYPE, *WINDOW_WIDGETS, SCALING_WIDGET), MODEL),
    Form(
        "IPAdapterEmbedsBatch", ON_EMBEDS, (WEIGHT_WIDGET, LEGACY_WEIGHT_TYPE, *WINDOW_WIDGETS, SCALING_WIDGET), MODEL
    ),
    Form(
        "IPAdapterStyleComposition",
        ON_TWO_IMAGES,
        (*TWO_WEIGHTS, choice("combine_embeds", COMBINE, "average"), *WINDOW_WIDGETS, SCALING_WIDGET),
        MODEL,
    ),
    Form("IPAdapterStyleCompositionBatch", ON_TWO_IMAGES, (*TWO_WEIGHTS, *WINDOW_WIDGETS, SCALING_WIDGET), MODEL),
    Form(
        "IPAdapterMS",
        ON_FACE,
        (
            WEIGHT_WIDGET,
            FACE_WEIGHT,
            LEGACY_WEIGHT_TYPE,
            COMBINED,
            *WINDOW_WIDGETS,
            SCALING_WIDGET,
            text("layer_weights", long=True),
        ),
        MODEL,
    ),
    apply_form(
        "IPAdapterClipVisionEnhancer",
        *(WEIGHT_WIDGET, LEGACY_WEIGHT_TYPE, COMBINED, *WINDOW_WIDGETS, SCALING_WIDGET),
        *(whole("enhance_tiles", 2), number("enhance_ratio", 1.0)),
    ),
    apply_form(
        "IPAdapterClipVisionEnhancerBatch",
        *(WEIGHT_WIDGET, LEGACY_WEIGHT_TYPE, *WINDOW_WIDGETS, SCALING_WIDGET),
        *(whole("enhance_tiles", 2), number("enhance_ratio", 0.5), CHUNK_WIDGET),
    ),
    Form(
        "IPAdapterFromParams",
        sockets(
            f"{LEGACY_MODEL_AND_ADAPTER} ipadapter_params:IPADAPTER_PARAMS image_negative:IMAGE? "
            "clip_vision:CLIP_VISION?"
        ),
        (COMBINED, SCALING_WIDGET),
        MODEL,
    ),
    boost_form("IPAdapterPreciseStyleTransfer", number("style_boost", 1.0)),
    boost_form("IPAdapterPreciseStyleTransferBatch", number("style_boost", 1.0)),
    boost_form("IPAdapterPreciseComposition", number("composition_boost", 0.0)),
    boost_form("IPAdapterPreciseCompositionBatch", number("composition_boost", 0.0)),
    loader_form("IPAdapterUnifiedLoader", LEGACY_PRESETS),
    loader_form(
        "IPAdapterUnifiedLoaderFaceID",
        FACE_PRESETS,
        *(number("lora_strength", 0.6), choice("provider", LEGACY_PROVIDERS)),
        model="MODEL",
    ),
    loader_form("IPAdapterUnifiedLoaderCommunity", COMMUNITY_PRESETS),
    Form("IPAdapterModelLoader", (), (file_choice("ipadapter_file"),), outputs("IPADAPTER:IPADAPTER")),
    Form(
        "IPAdapterInsightFaceLoader",
        (),
        (choice("provider", LEGACY_PROVIDERS[:3]), choice("model_name", ("buffalo_l", "antelopev2"))),
        outputs("INSIGHTFACE:INSIGHTFACE"),
    ),
    Form(
        "IPAdapterEncoder",
        sockets("ipadapter:IPADAPTER image:IMAGE mask:MASK? clip_vision:CLIP_VISION?"),
        (WEIGHT_WIDGET,),
        outputs("pos_embed:EMBEDS neg_embed:EMBEDS"),
    ),
    Form(
        "IPAdapterCombineEmbeds",
        sockets("embed1:EMBEDS embed2:EMBEDS? embed3:EMBEDS? embed4:EMBEDS? embed5:EMBEDS?"),
        (choice("method", COMBINE_EMBEDS),),
        EMBEDS,
    ),
    Form(
        "IPAdapterNoise",
        sockets("image_optional:IMAGE?"),
        (choice("type", NOISES), number("strength", 1.0), whole("blur", 0)),
        IMAGE,
    ),
    Form(
        "PrepImageForClipVision",
        sockets("image:IMAGE"),
        (choice("interpolation", RESAMPLING), choice("crop_position", LEGACY_CROPS), SHARPENING),
        IMAGE,
    ),
    Form("IPAdapterSaveEmbeds", sockets("embeds:EMBEDS"), (text("filename_prefix", "IP_embeds"),)),
    Form("IPAdapterLoadEmbeds", (), (file_choice("embeds"),), EMBEDS),
    Form(
        "IPAdapterWeights",
        sockets("image:IMAGE?"),
        (
            text("weights", "1.0, 0.0", long=True),
            choice("timing", TIMINGS, "linear"),
            *(whole("frames", 0), whole("start_frame", 0), whole("end_frame", 9999)),
            *(whole("add_starting_frames", 0), whole("add_ending_frames", 0)),
            choice("method", LEGACY_METHODS),
        ),
        SCHEDULED,
    ),
    Form(
        "IPAdapterCombineWeights",
        (),
        (number("weights_1", 0.0), number("weights_2", 0.0)),
        outputs("weights:FLOAT count:INT"),
    ),
    Form("IPAdapterWeightsFromStrategy", sockets("weights_strategy:WEIGHTS_STRATEGY image:IMAGE?"), outputs=SCHEDULED),
    Form(
        "IPAdapterPromptScheduleFromWeightsStrategy",
        sockets("weights_strategy:WEIGHTS_STRATEGY"),
        (text("prompt", long=True),),
        outputs("prompt_schedule:STRING"),
    ),
    Form(
        "IPAdapterRegionalConditioning",
        sockets("image:IMAGE mask:MASK? positive:CONDITIONING? negative:CONDITIONING?"),
        (number("image_weight", 1.0), number("prompt_weight", 1.0), LEGACY_WEIGHT_TYPE, *WINDOW_WIDGETS),
        outputs("IPADAPTER_PARAMS:IPADAPTER_PARAMS POSITIVE:CONDITIONING NEGATIVE:CONDITIONING"),
    ),
    Form(
        "IPAdapterCombineParams",
        sockets(
            "params_1:IPADAPTER_PARAMS params_2:IPADAPTER_PARAMS "
            "params_3:IPADAPTER_PARAMS? params_4:IPADAPTER_PARAMS? params_5:IPADAPTER_PARAMS?"
        ),
        outputs=PARAMS,
    ),
)
