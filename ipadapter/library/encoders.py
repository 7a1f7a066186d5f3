"""Which image encoder a file holds, told by its sizes, in the layouts that are loaded here."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ..encoders.published import ENCODERS, Encoder
from ..errors import IPAdapterError
from ..files.headers import Header
from ..files.tensors import Tensors


@dataclass(frozen=True)
class Layout:
    """Where a file keeps what tells its sizes. `embed_axis` is the axis of the projection that the embedding is."""

    position: str  # (tokens, width), or (1, tokens, width)
    projection: str
    embed_axis: int
    layer: re.Pattern[str]


TRANSFORMERS = Layout(  # CLIPVisionModelWithProjection and CLIPModel
    "vision_model.embeddings.position_embedding.weight",
    "visual_projection.weight",
    0,
    re.compile(r"vision_model\.encoder\.layers\.([0-9]{1,3})\.layer_norm1\.weight"),
)
LAYOUTS = (
    TRANSFORMERS,
    replace(TRANSFORMERS, projection="vision_model.head.mlp.fc2.weight"),  # SiglipVisionModel and SiglipModel
    Layout(  # Dinov2Model
        "embeddings.position_embeddings",
        "visual_projection.weight",
        0,
        re.compile(r"encoder\.layer\.([0-9]{1,3})\.norm1\.weight"),
    ),
    Layout(  # open_clip, and OpenAI's own files
        "visual.positional_embedding",
        "visual.proj",
        1,
        re.compile(r"visual\.transformer\.resblocks\.([0-9]{1,3})\.attn\.in_proj_weight"),
    ),
)

VOCABULARY = "text_model.embeddings.token_embedding.weight"  # (words, width)
SIGLIP2_WORDS = 256000  # of its text tower, where SigLIP has 32000


def identify_encoder(header: Header) -> Encoder:
    """The kind of encoder a file holds. Raises IPAdapterError for one that no public adapter reads."""
    tensors = {key.removeprefix("state_dict."): tensor for key, tensor in header.tensors.items()}
    layouts = [layout for layout in LAYOUTS if layout.position in tensors]
    if not layouts:
        raise IPAdapterError(f"'{header.name}' holds no CLIP image encoder.")
    refuse_siglip2(tensors, header.name)
    found = sizes(tensors, next((layout for layout in layouts if layout.projection in tensors), layouts[0]))
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
    tokens, width = position.shape[-2:] if position.ndim == 2 or position.shape[:-2] == (1,) else (0, 0)
    embed = projection.shape[layout.embed_axis] if projection is not None and projection.ndim == 2 else None
    layers = {int(match[1]) for key in tensors if (match := layout.layer.fullmatch(key))}
    return tokens, width, embed, len(layers)


def refuse_siglip2(tensors: Tensors, name: str) -> None:
    """SigLIP 2 has SigLIP's sizes and other weights: only its text tower and its name tell."""
    vocabulary = tensors.get(VOCABULARY)
    if "siglip2" in name.lower() or (vocabulary is not None and vocabulary.shape[0] == SIGLIP2_WORDS):
        raise IPAdapterError(f"'{name}' is a SigLIP 2, which no published adapter reads.")
