"""What programs and packs read of each node of ComfyUI_IPAdapter_plus 9d076a3, and call on it, as data.

A row is the method, the inputs that are required, those that are optional, and the outputs. `name:TYPE` is a socket,
`name:FLOAT=1.0,-1,3,0.05` a number with its default, lowest, highest and step, `name:[menu]` a menu, with another
default than its first entry behind `=`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MENUS: dict[str, tuple[str, ...]] = {
    "types": (
        *("linear", "ease in", "ease out", "ease in-out", "reverse in-out"),
        *("weak input", "weak output", "weak middle", "strong middle"),
        *("style transfer", "composition", "strong style transfer", "style and composition"),
        *("style transfer precise", "composition precise"),
    ),
    "simple": ("standard", "prompt is more important", "style transfer"),
    "combine": ("concat", "add", "subtract", "average", "norm average"),
    "methods": ("concat", "add", "subtract", "average", "norm average", "max", "min"),
    "scaling": ("V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty"),
    "presets": (
        "LIGHT - SD1.5 only (low strength)",
        "STANDARD (medium strength)",
        "VIT-G (medium strength)",
        "PLUS (high strength)",
        "PLUS FACE (portraits)",
        "FULL FACE - SD1.5 only (portraits stronger)",
    ),
    "faces": (
        "FACEID",
        "FACEID PLUS - SD1.5 only",
        "FACEID PLUS V2",
        "FACEID PORTRAIT (style transfer)",
        "FACEID PORTRAIT UNNORM - SDXL only (strong)",
    ),
    "community": ("Composition", "Kolors"),
    "providers": ("CPU", "CUDA", "ROCM", "DirectML", "OpenVINO", "CoreML"),
    "few providers": ("CPU", "CUDA", "ROCM"),
    "packs": ("buffalo_l", "antelopev2"),
    "noise": ("fade", "dissolve", "gaussian", "shuffle"),
    "resampling": ("LANCZOS", "BICUBIC", "HAMMING", "BILINEAR", "BOX", "NEAREST"),
    "crops": ("top", "bottom", "left", "right", "center", "pad"),
    "timing": ("custom", "linear", "ease_in_out", "ease_in", "ease_out", "random"),
    "batches": ("full batch", "shift batches", "alternate batches"),
    "files": (),
}

MI = "model:MODEL | ipadapter:IPADAPTER"
MII = f"{MI} | image:IMAGE"
W3, W5 = "weight:FLOAT=1.0,-1,3,0.05", "weight:FLOAT=1.0,-1,5,0.05"
V2 = "weight_faceidv2:FLOAT=1.0,-1,5.0,0.05"
TYPE, COMBINED, SCALING = "weight_type:[types]", "combine_embeds:[combine]", "embeds_scaling:[scaling]"
TIME = "start_at:FLOAT=0.0,0.0,1.0,0.001 | end_at:FLOAT=1.0,0.0,1.0,0.001"
NMC = "image_negative:IMAGE | attn_mask:MASK | clip_vision:CLIP_VISION"
NMCI = f"{NMC} | insightface:INSIGHTFACE"
CHUNK = "encode_batch_size:INT=0,0,4096"
SHARPEN = "sharpening:FLOAT=0.0,0.0,1.0,0.05"
TILES = "enhance_tiles:INT=2,1,16"
TWO = (
    f"{MI} | image_style:IMAGE | image_composition:IMAGE | weight_style:FLOAT=1.0,-1,5,0.05 | "
    "weight_composition:FLOAT=1.0,-1,5,0.05 | expand_style:BOOLEAN=False"
)
EMBEDS_IN = f"{MI} | pos_embed:EMBEDS | {W3} | {TYPE} | {TIME} | {SCALING}"
EMBEDS_MAY = "neg_embed:EMBEDS | attn_mask:MASK | clip_vision:CLIP_VISION"
FACED = "MODEL:MODEL | face_image:IMAGE"
SCHEDULED = (
    "weights:FLOAT | weights_invert:FLOAT | total_frames:INT | image_1:IMAGE | image_2:IMAGE | "
    "weights_strategy:WEIGHTS_STRATEGY"
)
FRAMES = (
    "frames:INT=0,0,9999 | start_frame:INT=0,0,9999 | end_frame:INT=9999,0,9999 | "
    "add_starting_frames:INT=0,0,9999 | add_ending_frames:INT=0,0,9999"
)


def boosted(boost: str) -> tuple[str, str, str, str]:
    required = f"{MII} | {W5} | {boost},-5,5,0.05 | {COMBINED} | {TIME} | {SCALING}"
    return "apply_ipadapter", required, NMC, "MODEL:MODEL"


def face(more: str = "") -> tuple[str, str, str, str]:
    required = f"{MII} | {W3} | {V2} | {more}{TYPE} | {COMBINED} | {TIME} | {SCALING}"
    return "apply_ipadapter", required, NMCI, FACED


STYLE, COMPOSITION = boosted("style_boost:FLOAT=1.0"), boosted("composition_boost:FLOAT=0.0")
CONTRACT: dict[str, tuple[str, str, str, str]] = {
    "IPAdapter": ("apply_ipadapter", f"{MII} | {W3} | {TIME} | weight_type:[simple]", "attn_mask:MASK", "MODEL:MODEL"),
    "IPAdapterAdvanced": (
        *("apply_ipadapter", f"{MII} | {W5} | {TYPE} | {COMBINED} | {TIME} | {SCALING}", NMC, "MODEL:MODEL"),
    ),
    "IPAdapterBatch": (
        *("apply_ipadapter", f"{MII} | {W5} | {TYPE} | {TIME} | {SCALING} | {CHUNK}", NMC, "MODEL:MODEL"),
    ),
    "IPAdapterFaceID": face(),
    "IPAdapterFaceIDKolors": face("weight_kolors:FLOAT=1.0,-1,5.0,0.05 | "),
    "IPAAdapterFaceIDBatch": face(),
    "IPAdapterTiled": (
        "apply_tiled",
        f"{MII} | {W3} | {TYPE} | {COMBINED} | {TIME} | {SHARPEN} | {SCALING}",
        NMC,
        "MODEL:MODEL | tiles:IMAGE | masks:MASK",
    ),
    "IPAdapterTiledBatch": (
        "apply_tiled",
        f"{MII} | {W3} | {TYPE} | {TIME} | {SHARPEN} | {SCALING} | {CHUNK}",
        NMC,
        "MODEL:MODEL | tiles:IMAGE | masks:MASK",
    ),
    "IPAdapterEmbeds": ("apply_ipadapter", EMBEDS_IN, EMBEDS_MAY, "MODEL:MODEL"),
    "IPAdapterEmbedsBatch": ("apply_ipadapter", EMBEDS_IN, EMBEDS_MAY, "MODEL:MODEL"),
    "IPAdapterStyleComposition": (
        *("apply_ipadapter", f"{TWO} | combine_embeds:[combine]=average | {TIME} | {SCALING}", NMC, "MODEL:MODEL"),
    ),
    "IPAdapterStyleCompositionBatch": ("apply_ipadapter", f"{TWO} | {TIME} | {SCALING}", NMC, "MODEL:MODEL"),
    "IPAdapterMS": (
        "apply_ipadapter",
        f"{MII} | {W5} | {V2} | {TYPE} | {COMBINED} | {TIME} | {SCALING} | layer_weights:STRING=",
        NMCI,
        "MODEL:MODEL",
    ),
    "IPAdapterClipVisionEnhancer": (
        "apply_ipadapter",
        f"{MII} | {W5} | {TYPE} | {COMBINED} | {TIME} | {SCALING} | {TILES} | enhance_ratio:FLOAT=1.0,0.0,1.0,0.05",
        NMC,
        "MODEL:MODEL",
    ),
    "IPAdapterClipVisionEnhancerBatch": (
        "apply_ipadapter",
        f"{MII} | {W5} | {TYPE} | {TIME} | {SCALING} | {TILES} | enhance_ratio:FLOAT=0.5,0.0,1.0,0.05 | {CHUNK}",
        NMC,
        "MODEL:MODEL",
    ),
    "IPAdapterFromParams": (
        "apply_ipadapter",
        f"{MI} | ipadapter_params:IPADAPTER_PARAMS | {COMBINED} | {SCALING}",
        "image_negative:IMAGE | clip_vision:CLIP_VISION",
        "MODEL:MODEL",
    ),
    "IPAdapterPreciseStyleTransfer": STYLE,
    "IPAdapterPreciseStyleTransferBatch": STYLE,
    "IPAdapterPreciseComposition": COMPOSITION,
    "IPAdapterPreciseCompositionBatch": COMPOSITION,
    "IPAdapterUnifiedLoader": (
        *("load_models", "model:MODEL | preset:[presets]", "ipadapter:IPADAPTER", "model:MODEL | ipadapter:IPADAPTER"),
    ),
    "IPAdapterUnifiedLoaderFaceID": (
        "load_models",
        "model:MODEL | preset:[faces] | lora_strength:FLOAT=0.6,0,1,0.01 | provider:[providers]",
        "ipadapter:IPADAPTER",
        "MODEL:MODEL | ipadapter:IPADAPTER",
    ),
    "IPAdapterUnifiedLoaderCommunity": (
        *("load_models", "model:MODEL | preset:[community]", "ipadapter:IPADAPTER"),
        "model:MODEL | ipadapter:IPADAPTER",
    ),
    "IPAdapterModelLoader": ("load_ipadapter_model", "ipadapter_file:[files]", "", "IPADAPTER:IPADAPTER"),
    "IPAdapterInsightFaceLoader": (
        *("load_insightface", "provider:[few providers] | model_name:[packs]", "", "INSIGHTFACE:INSIGHTFACE"),
    ),
    "IPAdapterEncoder": (
        "encode",
        "ipadapter:IPADAPTER | image:IMAGE | weight:FLOAT=1.0,-1.0,3.0,0.01",
        "mask:MASK | clip_vision:CLIP_VISION",
        "pos_embed:EMBEDS | neg_embed:EMBEDS",
    ),
    "IPAdapterCombineEmbeds": (
        "batch",
        "embed1:EMBEDS | method:[methods]",
        "embed2:EMBEDS | embed3:EMBEDS | embed4:EMBEDS | embed5:EMBEDS",
        "EMBEDS:EMBEDS",
    ),
    "IPAdapterNoise": (
        "make_noise",
        "type:[noise] | strength:FLOAT=1.0,0,1,0.05 | blur:INT=0,0,32",
        "image_optional:IMAGE",
        "IMAGE:IMAGE",
    ),
    "PrepImageForClipVision": (
        "prep_image",
        "image:IMAGE | interpolation:[resampling] | crop_position:[crops] | sharpening:FLOAT=0.0,0,1,0.05",
        "",
        "IMAGE:IMAGE",
    ),
    "IPAdapterSaveEmbeds": ("save", "embeds:EMBEDS | filename_prefix:STRING=IP_embeds", "", ""),
    "IPAdapterLoadEmbeds": ("load", "embeds:[files]", "", "EMBEDS:EMBEDS"),
    "IPAdapterWeights": (
        "weights",
        f"weights:STRING=1.0, 0.0 | timing:[timing]=linear | {FRAMES} | method:[batches]",
        "image:IMAGE",
        SCHEDULED,
    ),
    "IPAdapterCombineWeights": (
        "combine",
        "weights_1:FLOAT=0.0,0.0,1.0,0.05 | weights_2:FLOAT=0.0,0.0,1.0,0.05",
        "",
        "weights:FLOAT | count:INT",
    ),
    "IPAdapterWeightsFromStrategy": ("weights", "weights_strategy:WEIGHTS_STRATEGY", "image:IMAGE", SCHEDULED),
    "IPAdapterPromptScheduleFromWeightsStrategy": (
        *("prompt_schedule", "weights_strategy:WEIGHTS_STRATEGY | prompt:STRING=", "", "prompt_schedule:STRING"),
    ),
    "IPAdapterRegionalConditioning": (
        "conditioning",
        f"image:IMAGE | image_weight:FLOAT=1.0,-1.0,3.0,0.05 | prompt_weight:FLOAT=1.0,0.0,10.0,0.05 | {TYPE} | {TIME}",
        "mask:MASK | positive:CONDITIONING | negative:CONDITIONING",
        "IPADAPTER_PARAMS:IPADAPTER_PARAMS | POSITIVE:CONDITIONING | NEGATIVE:CONDITIONING",
    ),
    "IPAdapterCombineParams": (
        "combine",
        "params_1:IPADAPTER_PARAMS | params_2:IPADAPTER_PARAMS",
        "params_3:IPADAPTER_PARAMS | params_4:IPADAPTER_PARAMS | params_5:IPADAPTER_PARAMS",
        "IPADAPTER_PARAMS:IPADAPTER_PARAMS",
    ),
}

# Inputs in the order that others pass them, with what must be given before the bar.
APPLY = (
    "model ipadapter | start_at end_at weight weight_style weight_composition expand_style weight_type combine_embeds "
    "weight_faceidv2 image image_style image_composition image_negative clip_vision attn_mask insightface "
    "embeds_scaling layer_weights ipadapter_params encode_batch_size style_boost composition_boost enhance_tiles "
    "enhance_ratio weight_kolors"
)
TILED = (
    "model ipadapter image weight weight_type start_at end_at sharpening | combine_embeds image_negative attn_mask "
    "clip_vision embeds_scaling encode_batch_size"
)
EMBEDS = "model ipadapter pos_embed weight weight_type start_at end_at | neg_embed attn_mask clip_vision embeds_scaling"
LOADING = "model preset | lora_strength provider ipadapter"
WEIGHTS = (
    "| weights timing frames start_frame end_frame add_starting_frames add_ending_frames method weights_strategy image"
)
ORDERS: dict[str, str] = {
    **{name: APPLY for name, row in CONTRACT.items() if row[0] == "apply_ipadapter"},
    "IPAdapter": "model ipadapter image weight start_at end_at weight_type | attn_mask",
    **dict.fromkeys(("IPAdapterEmbeds", "IPAdapterEmbedsBatch"), EMBEDS),
    **dict.fromkeys(("IPAdapterTiled", "IPAdapterTiledBatch"), TILED),
    **{name: LOADING for name, row in CONTRACT.items() if row[0] == "load_models"},
    **{name: WEIGHTS for name, row in CONTRACT.items() if row[0] == "weights"},
    "IPAdapterModelLoader": "ipadapter_file |",
    "IPAdapterInsightFaceLoader": "provider | model_name",
    "IPAdapterEncoder": "ipadapter image weight | mask clip_vision",
    "IPAdapterCombineEmbeds": "embed1 method | embed2 embed3 embed4 embed5",
    "IPAdapterNoise": "type strength blur | image_optional",
    "PrepImageForClipVision": "image | interpolation crop_position sharpening",
    "IPAdapterSaveEmbeds": "embeds filename_prefix |",
    "IPAdapterLoadEmbeds": "embeds |",
    "IPAdapterCombineWeights": "weights_1 weights_2 |",
    "IPAdapterPromptScheduleFromWeightsStrategy": "weights_strategy | prompt",
    "IPAdapterRegionalConditioning": (
        "image image_weight prompt_weight weight_type start_at end_at | mask positive negative"
    ),
    "IPAdapterCombineParams": "params_1 params_2 | params_3 params_4 params_5",
}


@dataclass(frozen=True)
class Asked:
    """What is asked of one input."""

    name: str
    kind: str | tuple[str, ...]  # the entries of a menu
    default: Any = None
    limits: tuple[float, ...] = ()


def entries(row: str) -> list[str]:
    return [entry.strip() for entry in row.split(" | ")] if row else []


def asked(row: str) -> list[Asked]:
    """A row's inputs."""
    return [one_asked(*entry.split(":", 1)) for entry in entries(row)]


def one_asked(name: str, text: str) -> Asked:
    kind, _, rest = text.partition("=")
    if kind.startswith("["):
        return Asked(name, MENUS[kind[1:-1]], rest or None)
    if kind in ("FLOAT", "INT"):
        default, *limits = (float(number) for number in rest.split(","))
        return Asked(name, kind, default, tuple(limits))
    return Asked(name, kind, {"BOOLEAN": False, "STRING": rest}.get(kind))
