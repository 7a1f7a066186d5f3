"""Full-size files that take no room: a real safetensors header over a hole in the disk, and encoders' public shapes."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from tests.plain.public import Shapes

HALF = 2  # bytes a number


def write_sparse(path: Path, shapes: Shapes, metadata: dict[str, str] | None = None) -> Path:
    """A safetensors file of fp16 zeros that the file system does not store."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for key, shape in shapes.items():
        start, end = end, end + HALF * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def transformers_shapes(width: int, embed: int, tokens: int, depth: int) -> Shapes:
    """What tells an encoder in transformers' layout, and two matrices a layer."""
    shapes: Shapes = {
        "vision_model.embeddings.class_embedding": (width,),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, 14, 14),
        "vision_model.embeddings.position_embedding.weight": (tokens, width),
        "visual_projection.weight": (embed, width),
    }
    for i in range(depth):
        shapes[f"vision_model.encoder.layers.{i}.layer_norm1.weight"] = (width,)
        shapes[f"vision_model.encoder.layers.{i}.mlp.fc1.weight"] = (4 * width, width)
    return shapes


def siglip_shapes(width: int, embed: int, tokens: int, depth: int) -> Shapes:
    """What tells a SigLIP, which has a pooling head in place of a class token and a projection."""
    shapes = transformers_shapes(width, embed, tokens, depth)
    del shapes["vision_model.embeddings.class_embedding"], shapes["visual_projection.weight"]
    return {**shapes, "vision_model.head.probe": (1, 1, width), "vision_model.head.mlp.fc2.weight": (embed, 4 * width)}


def dinov2_shapes(depth: int, width: int = 1536) -> Shapes:
    """What tells a DINOv2, which has no projection."""
    shapes: Shapes = {"embeddings.cls_token": (1, 1, width), "embeddings.position_embeddings": (1, 1370, width)}
    shapes |= {f"encoder.layer.{i}.norm1.weight": (width,) for i in range(depth)}
    return shapes | {f"encoder.layer.{i}.layer_scale2.lambda1": (width,) for i in range(depth)}


def open_clip_shapes(width: int, embed: int, tokens: int, depth: int) -> Shapes:
    """The same in open_clip's layout, with a little of a text tower beside."""
    shapes: Shapes = {
        "positional_embedding": (77, embed),
        "token_embedding.weight": (49408, embed),
        "visual.class_embedding": (width,),
        "visual.conv1.weight": (width, 3, 14, 14),
        "visual.positional_embedding": (tokens, width),
        "visual.proj": (width, embed),
    }
    for i in range(depth):
        shapes[f"visual.transformer.resblocks.{i}.attn.in_proj_weight"] = (3 * width, width)
        shapes[f"transformer.resblocks.{i}.attn.in_proj_weight"] = (3 * embed, embed)
    return shapes


SIZES = {  # width, embed, tokens, depth
    "ViT-H": (1280, 1024, 257, 32),
    "ViT-bigG": (1664, 1280, 257, 48),
    "ViT-L-336": (1024, 768, 577, 24),
    "ViT-L": (1024, 768, 257, 24),
}
LAYOUTS = {"transformers": transformers_shapes, "open_clip": open_clip_shapes}
