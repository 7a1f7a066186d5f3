"""InstantX's SD3.5 adapter as diffusers writes it, in the public file's names.

Source: diffusers `loaders/transformer_sd3.py`, which renames the other way.
"""

from __future__ import annotations

import re

from ..files.tensors import Tensors
from .xlabs_layout import by_rules

TIMED_LAYER = r"(image_proj\.layers\.\d{1,4}\.)"
FROM_DIFFUSERS = tuple(
    (re.compile(TIMED_LAYER + re.escape(theirs) + r"\.(\w+)"), rf"\g<1>{ours}.\g<2>")
    for theirs, ours in (
        ("ln0", "0.norm1"),
        ("ln1", "0.norm2"),
        ("attn.to_q", "0.to_q"),
        ("attn.to_kv", "0.to_kv"),
        ("attn.to_out.0", "0.to_out"),
        ("adaln_norm", "1.0"),
        ("ff.net.0.proj", "1.1"),
        ("ff.net.2", "1.3"),
        ("adaln_proj", "2.1"),
    )
)


def from_timed(flat: Tensors) -> Tensors:
    """A file's tensors under the public file's names; one of another layout as it is."""
    return {by_rules(name, FROM_DIFFUSERS): tensor for name, tensor in flat.items()}
