"""What other packs and scripts call on an old node's class: a method, and its inputs in the order they are passed.

Source: ComfyUI_IPAdapter_plus 9d076a3, whose nodes of one kind share a method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

from ..strength.frames import UNTIL_THE_END

KIND = Parameter.POSITIONAL_OR_KEYWORD


@dataclass(frozen=True)
class Call:
    """A method by its name, and its inputs without `self`."""

    name: str
    signature: Signature

    def bind(self, given: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Every input by name, defaults filled in. Raises TypeError, as any method, for what it does not take."""
        bound = self.signature.bind(*given, **named)
        bound.apply_defaults()
        return bound.arguments


def call(name: str, required: str, **defaults: Any) -> Call:
    """A method whose inputs are those that must be given, then those with a default."""
    must = [Parameter(one, KIND) for one in required.split()]
    may = [Parameter(one, KIND, default=value) for one, value in defaults.items()]
    return Call(name, Signature([*must, *may]))


APPLY = call(
    "apply_ipadapter",
    "model ipadapter",
    start_at=0.0,
    end_at=1.0,
    weight=1.0,
    weight_style=1.0,
    weight_composition=1.0,
    expand_style=False,
    weight_type="linear",
    combine_embeds="concat",
    weight_faceidv2=None,
    image=None,
    image_style=None,
    image_composition=None,
    image_negative=None,
    clip_vision=None,
    attn_mask=None,
    insightface=None,
    embeds_scaling="V only",
    layer_weights=None,
    ipadapter_params=None,
    encode_batch_size=0,
    style_boost=None,
    composition_boost=None,
    enhance_tiles=1,
    enhance_ratio=1.0,
    weight_kolors=1.0,
)
APPLY_SIMPLE = call("apply_ipadapter", "model ipadapter image weight start_at end_at weight_type", attn_mask=None)
APPLY_TILED = call(
    "apply_tiled",
    "model ipadapter image weight weight_type start_at end_at sharpening",
    combine_embeds="concat",
    image_negative=None,
    attn_mask=None,
    clip_vision=None,
    embeds_scaling="V only",
    encode_batch_size=0,
)
APPLY_EMBEDS = call(
    "apply_ipadapter",
    "model ipadapter pos_embed weight weight_type start_at end_at",
    neg_embed=None,
    attn_mask=None,
    clip_vision=None,
    embeds_scaling="V only",
)
LOAD_MODELS = call("load_models", "model preset", lora_strength=0.0, provider="CPU", ipadapter=None)
WEIGHTS = call(
    "weights",
    "",
    weights="",
    timing="custom",
    frames=0,
    start_frame=0,
    end_frame=UNTIL_THE_END,
    add_starting_frames=0,
    add_ending_frames=0,
    method="full batch",
    weights_strategy=None,
    image=None,
)
OLD_CALLS: dict[str, Call] = {
    **dict.fromkeys(
        (
            *("IPAdapterAdvanced", "IPAdapterBatch", "IPAdapterMS", "IPAdapterFromParams"),
            *("IPAdapterFaceID", "IPAdapterFaceIDKolors", "IPAAdapterFaceIDBatch"),
            *("IPAdapterStyleComposition", "IPAdapterStyleCompositionBatch"),
            *("IPAdapterClipVisionEnhancer", "IPAdapterClipVisionEnhancerBatch"),
            *("IPAdapterPreciseStyleTransfer", "IPAdapterPreciseStyleTransferBatch"),
            *("IPAdapterPreciseComposition", "IPAdapterPreciseCompositionBatch"),
        ),
        APPLY,
    ),
    "IPAdapter": APPLY_SIMPLE,
    **dict.fromkeys(("IPAdapterTiled", "IPAdapterTiledBatch"), APPLY_TILED),
    **dict.fromkeys(("IPAdapterEmbeds", "IPAdapterEmbedsBatch"), APPLY_EMBEDS),
    **dict.fromkeys(
        ("IPAdapterUnifiedLoader", "IPAdapterUnifiedLoaderFaceID", "IPAdapterUnifiedLoaderCommunity"), LOAD_MODELS
    ),
    "IPAdapterModelLoader": call("load_ipadapter_model", "ipadapter_file"),
    "IPAdapterInsightFaceLoader": call("load_insightface", "provider", model_name="buffalo_l"),
    "IPAdapterEncoder": call("encode", "ipadapter image weight", mask=None, clip_vision=None),
    "IPAdapterCombineEmbeds": call("batch", "embed1 method", embed2=None, embed3=None, embed4=None, embed5=None),
    "IPAdapterNoise": call("make_noise", "type strength blur", image_optional=None),
    "PrepImageForClipVision": call(
        "prep_image", "image", interpolation="LANCZOS", crop_position="center", sharpening=0.0
    ),
    "IPAdapterSaveEmbeds": call("save", "embeds filename_prefix"),
    "IPAdapterLoadEmbeds": call("load", "embeds"),
    **dict.fromkeys(("IPAdapterWeights", "IPAdapterWeightsFromStrategy"), WEIGHTS),
    "IPAdapterCombineWeights": call("combine", "weights_1 weights_2"),
    "IPAdapterPromptScheduleFromWeightsStrategy": call("prompt_schedule", "weights_strategy", prompt=""),
    "IPAdapterRegionalConditioning": call(
        "conditioning",
        "image image_weight prompt_weight weight_type start_at end_at",
        mask=None,
        positive=None,
        negative=None,
    ),
    "IPAdapterCombineParams": call("combine", "params_1 params_2", params_3=None, params_4=None, params_5=None),
}
