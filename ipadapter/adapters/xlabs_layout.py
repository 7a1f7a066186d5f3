"""XLabs' FLUX adapters, whose files have names of their own, in the names of the other public files and back.

Source: XLabs-AI/x-flux `src/flux/xflux_pipeline.py`; diffusers `loaders/ip_adapter.py`, which renames them too.
"""

from __future__ import annotations

import re

from ..files.tensors import Tensors

IN_LAYERS = re.compile(r"(?:.*\.)?double_blocks\.(\d{1,4})\.processor\.ip_adapter_double_stream_([kv])_proj\.(\w+)")
IN_PROJECTION = re.compile(r"(?:.*\.)?ip_adapter_proj_model\.(.+)")
PUBLIC_LAYER = re.compile(r"ip_adapter\.(\d+)\.to_([kv])_ip\.(\w+)")
PUBLIC_PROJECTION = re.compile(r"image_proj\.(.+)")

FROM_XLABS = ((IN_LAYERS, r"ip_adapter.\1.to_\2_ip.\3"), (IN_PROJECTION, r"image_proj.\1"))
TO_XLABS = (
    (PUBLIC_LAYER, r"double_blocks.\1.processor.ip_adapter_double_stream_\2_proj.\3"),
    (PUBLIC_PROJECTION, r"ip_adapter_proj_model.\1"),
)


def from_xlabs(flat: Tensors) -> Tensors:
    """A file's tensors under the names of other public files; one of another layout as it is."""
    if not any(IN_LAYERS.fullmatch(name) for name in flat):
        return flat
    return {by_rules(name, FROM_XLABS): tensor for name, tensor in flat.items()}


def xlabs_name(name: str) -> str:
    """What XLabs' files call a tensor."""
    return by_rules(name, TO_XLABS)


def by_rules(name: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    """By the first rule that is for it."""
    return next((match.expand(to) for pattern, to in rules if (match := pattern.fullmatch(name))), name)
