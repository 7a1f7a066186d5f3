"""What each node of the old pack's first version becomes."""

from __future__ import annotations

from .first_nodes import (
    EARLIEST_ENCODER,
    FIRST_APPLY,
    FIRST_APPLY_EMBEDS,
    FIRST_APPLY_FACE,
    FIRST_BATCH,
    FIRST_ENCODER,
    FIRST_FACES,
    FIRST_PREPARE_FACE,
    FIRST_TILES,
)
from .forms import Value
from .new_nodes import FRAME_BY_FRAME, ORDER_TOGETHER
from .rules import BLACK_PICTURE, INTERPOLATION, LARGEST_FACES, ONCE, TILES, Chosen, MigrationRule, Note

SCALING_OF: dict[Value, Value] = {"original": "V only", "linear": "K+V", "channel penalty": "K+mean(V) w/ C penalty"}
ORDER_OF: dict[Value, Value] = {False: ORDER_TOGETHER, True: FRAME_BY_FRAME}
SCALED = {"weight_type": "embeds_scaling"}
SCALED_IN_ORDER = {**SCALED, "unfold_batch": "order"}
SCALED_IN_ORDER_CHOICES = {"weight_type": SCALING_OF, "unfold_batch": ORDER_OF}
PLUS_DROPPED = "everything that the encoder says is kept, whichever adapter reads it"


def has_noise(chosen: Chosen) -> bool:
    """Whether the old node showed a noisy copy of the picture in place of none."""
    return chosen.differs("noise", 0.0)


FIRST_NOISE_NOTE = Note(
    "noise shows a shuffled, noisy copy of the reference in place of no image, as it did; it is other noise of the "
    "same kind.",
    has_noise,
)
FIRST_BLACK_PICTURE = Note(BLACK_PICTURE.text, lambda chosen: not has_noise(chosen))
FIRST_NEUTRAL = Note(
    "What stands for no image is what the adapter was trained with, where the old pack gave adapters of the Plus "
    "family a black picture.",
    lambda chosen: not has_noise(chosen),
)
FIRST_APPLYING = (FIRST_BLACK_PICTURE, FIRST_NOISE_NOTE, ONCE)
ENCODING_FIRST = (FIRST_NEUTRAL, FIRST_NOISE_NOTE)

FIRST_RULES = (
    MigrationRule(
        "IPAdapterApply",
        "LegacyIPAdapter",
        renamed=SCALED_IN_ORDER,
        choices=SCALED_IN_ORDER_CHOICES,
        fixed={"weight_type": "linear"},
        notes=FIRST_APPLYING,
        first_form=FIRST_APPLY,
    ),
    MigrationRule(
        "IPAdapterApplyFaceID",
        "LegacyIPAdapter",
        renamed={**SCALED_IN_ORDER, "weight_v2": "weight_faceidv2"},
        choices=SCALED_IN_ORDER_CHOICES,
        fixed={"weight_type": "linear"},
        dropped={"faceid_v2": "the adapter's file says whether it is of version 2"},
        notes=(*FIRST_APPLYING, LARGEST_FACES),
        first_form=FIRST_APPLY_FACE,
    ),
    MigrationRule(
        "IPAdapterTilesMasked",
        "LegacyIPAdapterTiled",
        renamed=SCALED,
        choices={"weight_type": SCALING_OF},
        fixed={"weight_type": "linear"},
        dropped={
            "short_side_tiles": "the reference is read in two by two tiles, or in up to four along its longer side",
            "tile_weight": "all tiles have the one weight",
        },
        notes=(*FIRST_APPLYING, TILES),
        first_form=FIRST_TILES,
    ),
    MigrationRule(
        "IPAdapterApplyEncoded",
        "LegacyIPAdapterEmbeds",
        renamed={**SCALED_IN_ORDER, "embeds": "pos_embed"},
        choices=SCALED_IN_ORDER_CHOICES,
        fixed={"weight_type": "linear"},
        notes=(ONCE,),
        first_form=FIRST_APPLY_EMBEDS,
    ),
    MigrationRule(
        "IPAdapterEncoder",
        "LegacyIPAdapterFirstEncoder",
        dropped={"ipadapter_plus": PLUS_DROPPED},
        notes=ENCODING_FIRST,
        first_form=FIRST_ENCODER,
    ),
    MigrationRule(
        "IPAdapterEncoder",
        "LegacyIPAdapterFirstEncoder",
        renamed={"image": "image_1"},
        dropped={"plus": PLUS_DROPPED},
        notes=ENCODING_FIRST,
        first_form=EARLIEST_ENCODER,
    ),
    MigrationRule("IPAdapterBatchEmbeds", "LegacyIPAdapterCombineEmbeds", first_form=FIRST_BATCH),
    MigrationRule("InsightFaceLoader", "LoadInsightFace", fixed={"model_name": "buffalo_l"}, first_form=FIRST_FACES),
    MigrationRule(
        "PrepImageForInsightFace",
        "PrepareReferenceImage",
        renamed={"crop_position": "crop"},
        fixed={"size": 640},
        dropped={"pad_around": "faces are found without a border around the picture"},
        notes=(INTERPOLATION,),
        first_form=FIRST_PREPARE_FACE,
    ),
)
