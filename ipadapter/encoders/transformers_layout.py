"""CLIP weights in the layout of transformers' CLIPModel, renamed to open_clip's."""

from __future__ import annotations

import re

import torch

from ..files.tensors import Tensors

MARKS = ("vision_model.embeddings.", "text_model.embeddings.")  # one of them starts some name in every such file
TOWERS = {"vision_model.": "visual.", "text_model.": ""}
NAMES = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.": "conv1.",
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.": "ln_pre.",
    "post_layernorm.": "ln_post.",
    "final_layer_norm.": "ln_final.",
    "encoder.layers.": "transformer.resblocks.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.": ".attn.",
}
TRANSPOSED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
QUERY = re.compile(r"^(.+\.attn)\.q_proj\.(weight|bias)$")
COMPUTED = "embeddings.position_ids"  # 0, 1, 2 …


def is_transformers_layout(tensors: Tensors) -> bool:
    """Whether a file has a tower under transformers' names."""
    return any(key.startswith(MARKS) for key in tensors)


def from_transformers(tensors: Tensors) -> Tensors:
    """Every tensor of both towers under open_clip's name; the three matrices of an attention become one."""
    plain = {open_clip_name(key): tensor for key, tensor in tensors.items() if not key.endswith(COMPUTED)}
    plain |= {new: plain.pop(old).T.contiguous() for old, new in TRANSPOSED.items() if old in plain}
    for key in [key for key in plain if QUERY.match(key)]:
        join_attention(plain, key)
    return plain


def open_clip_name(key: str) -> str:
    """One name; those outside the towers stay."""
    for old, new in TOWERS.items():
        if key.startswith(old):
            key = new + key.removeprefix(old)
            for theirs, ours in NAMES.items():
                key = key.replace(theirs, ours)
    return key


def join_attention(tensors: Tensors, query: str) -> None:
    """Queries, keys and values of one attention as `in_proj` (3 · D, …), where all three are there."""
    parts = [query.replace(".q_proj.", f".{letter}_proj.") for letter in "qkv"]
    if all(part in tensors for part in parts):
        joined = torch.cat([tensors.pop(part) for part in parts])  # 3 · (D, …) to (3 · D, …)
        tensors[query.replace(".q_proj.", ".in_proj_")] = joined
