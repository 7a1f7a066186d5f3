"""Which CLIP image encoder a file holds, told by its sizes, in the two layouts that `comfy.clip_vision` loads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..encoders.published import ENCODERS, Encoder
from ..errors import IPAdapterError
from ..files.headers import Header
from ..files.tensors import Tensors


@dataclass(frozen=True)
class Layout:
    """Where a file keeps what tells its sizes. `embed_axis` is the axis of the projection that the embedding is."""

    position: str  # (tokens, width)
    projection: str
    embed_axis: int
    layer: re.Pattern[str]


LAYOUTS = (
    Layout(  # transformers' CLIPVisionModelWithProjection and CLIPModel
        "vision_model.embeddings.position_embedding.weight",
        "visual_projection.weight",
        0,
        re.compile(r"vision_model\.encoder\.layers\.([0-9]{1,3})\.layer_norm1\.weight"),
    ),
    Layout(  # open_clip, and OpenAI's own files
        "visual.positional_embedding",
        "visual.proj",
        1,
        re.compile(r"visual\.transformer\.resblocks\.([0-9]{1,3})\.attn\.in_proj_weight"),
    ),
)


def identify_encoder(header: Header) -> Encoder:
    """The kind of encoder a file holds. Raises IPAdapterError for one that no public adapter reads."""
    tensors = {key.removeprefix("state_dict."): tensor for key, tensor in header.tensors.items()}
    layout = next((layout for layout in LAYOUTS if layout.position in tensors), None)
    if layout is None:
        raise IPAdapterError(f"'{header.name}' holds no CLIP image encoder.")
    found = sizes(tensors, layout)
    for encoder in ENCODERS:
        if (encoder.tokens, encoder.width, encoder.embed, encoder.depth) == found:
            return encoder
    tokens, width, embed, depth = found
    raise IPAdapterError(
        f"'{header.name}' is an image encoder of {depth} layers, {width} wide, with {tokens} tokens and "
        f"{f'a {embed}-wide' if embed else 'no'} projection, which no published adapter reads."
    )


def sizes(tensors: Tensors, layout: Layout) -> tuple[int, int, int | None, int]:
    """Tokens, width, width of the embedding and depth."""
    position, projection = tensors[layout.position], tensors.get(layout.projection)
    tokens, width = position.shape if position.ndim == 2 else (0, 0)
    embed = projection.shape[layout.embed_axis] if projection is not None and projection.ndim == 2 else None
    layers = {int(match[1]) for key in tensors if (match := layout.layer.fullmatch(key))}
    return tokens, width, embed, len(layers)
