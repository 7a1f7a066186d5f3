"""Nodes that graphs made for ComfyUI_IPAdapter_plus are given in place of their own."""

from __future__ import annotations

from ...ipadapter.host.api import io
from .apply import (
    LegacyIPAdapter,
    LegacyIPAdapterFaceIDLoader,
    LegacyIPAdapterStyleComposition,
    LegacyIPAdapterTiled,
)
from .embeds import LegacyIPAdapterCombineEmbeds, LegacyIPAdapterEmbeds, LegacyIPAdapterEncoder
from .first import LegacyIPAdapterFirstEncoder
from .params import LegacyIPAdapterCombineParams, LegacyIPAdapterFromParams, LegacyIPAdapterRegion
from .weights import (
    LegacyIPAdapterCombineWeights,
    LegacyIPAdapterPromptSchedule,
    LegacyIPAdapterWeights,
)

LEGACY_CLASS_MAPPINGS = {
    "LegacyIPAdapter": LegacyIPAdapter,
    "LegacyIPAdapterTiled": LegacyIPAdapterTiled,
    "LegacyIPAdapterStyleComposition": LegacyIPAdapterStyleComposition,
    "LegacyIPAdapterEncoder": LegacyIPAdapterEncoder,
    "LegacyIPAdapterFirstEncoder": LegacyIPAdapterFirstEncoder,
    "LegacyIPAdapterCombineEmbeds": LegacyIPAdapterCombineEmbeds,
    "LegacyIPAdapterEmbeds": LegacyIPAdapterEmbeds,
    "LegacyIPAdapterRegion": LegacyIPAdapterRegion,
    "LegacyIPAdapterCombineParams": LegacyIPAdapterCombineParams,
    "LegacyIPAdapterFromParams": LegacyIPAdapterFromParams,
    "LegacyIPAdapterWeights": LegacyIPAdapterWeights,
    "LegacyIPAdapterCombineWeights": LegacyIPAdapterCombineWeights,
    "LegacyIPAdapterPromptSchedule": LegacyIPAdapterPromptSchedule,
    "LegacyIPAdapterFaceIDLoader": LegacyIPAdapterFaceIDLoader,
}
LEGACY_NODES: list[type[io.ComfyNode]] = list(LEGACY_CLASS_MAPPINGS.values())
