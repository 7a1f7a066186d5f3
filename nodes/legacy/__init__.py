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

LEGACY_NODES: list[type[io.ComfyNode]] = [
    LegacyIPAdapter,
    LegacyIPAdapterTiled,
    LegacyIPAdapterStyleComposition,
    LegacyIPAdapterEncoder,
    LegacyIPAdapterFirstEncoder,
    LegacyIPAdapterCombineEmbeds,
    LegacyIPAdapterEmbeds,
    LegacyIPAdapterRegion,
    LegacyIPAdapterCombineParams,
    LegacyIPAdapterFromParams,
    LegacyIPAdapterWeights,
    LegacyIPAdapterCombineWeights,
    LegacyIPAdapterPromptSchedule,
    LegacyIPAdapterFaceIDLoader,
]
