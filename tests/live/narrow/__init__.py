"""Nodes with narrow or shallow models in the place of those that ComfyUI opens in their full size only.

DINOv2-giant, which a CPU takes minutes to read a picture and its quarters with, SigLIP beside it as deep as
InstantCharacter reads it, and the text encoder of Stable Diffusion 2.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.clip_vision
import comfy.memory_management
import comfy.sd
import torch
from comfy.sd1_clip import SD1ClipModel, SDClipModel
from comfy.text_encoders.sd2_clip import SD2Tokenizer

WIDTH, SIDE = 64, 56  # of hidden states, and of what is read, in pixels
SHAPE = {"hidden_size": WIDTH, "num_attention_heads": 4, "patch_size": 14, "num_channels": 3}
SIGLIP = SHAPE | {
    "model_type": "siglip_vision_model",
    "hidden_act": "gelu_pytorch_tanh",
    "intermediate_size": 128,
    "num_hidden_layers": 27,
    "image_size": SIDE,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}
DINOV2 = SHAPE | {
    "model_type": "dinov2",
    "layer_norm_eps": 1e-6,
    "use_swiglu_ffn": True,
    "num_hidden_layers": 30,
    "image_size": 518,  # every public one's
}
TOWERS = {"siglip": SIGLIP, "dinov2": DINOV2}


TEXT = {
    "hidden_act": "gelu",
    "hidden_size": 1024,  # as wide as the UNet reads
    "intermediate_size": 64,
    "max_position_embeddings": 77,
    "num_attention_heads": 16,
    "num_hidden_layers": 2,
    "projection_dim": 1024,
    "vocab_size": 49408,
    "eos_token_id": 49407,
}


class LoadNarrowTower:
    """The host's own classes, filled with fixed noise."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP_VISION",), "load", "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (the host calls it so)
        return {"required": {"tower": (list(TOWERS),)}}

    def load(self, tower: str) -> tuple[comfy.clip_vision.ClipVisionModel]:
        with whole_layers():
            filled = described(TOWERS[tower])
        fill(filled.model)
        model = described(TOWERS[tower])
        model.load_sd(filled.get_sd())
        return (model,)


class LoadShallowText:
    """The text encoder of Stable Diffusion 2 with two layers, filled with fixed noise."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP",), "load", "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (the host calls it so)
        return {"required": {}}

    def load(self) -> tuple[comfy.sd.CLIP]:
        target = SimpleNamespace(params={}, clip=shallow_text, tokenizer=SD2Tokenizer)
        clip = comfy.sd.CLIP(target)
        fill(clip.cond_stage_model)
        return (clip,)


def shallow_text(**given: Any) -> SD1ClipModel:
    """As the host has it, by a description of its own."""
    return SD1ClipModel(clip_name="h", clip_model=partial(SDClipModel, textmodel_json_config=dict(TEXT)), **given)


@contextmanager
def whole_layers() -> Iterator[None]:
    """With dynamic VRAM layers have no weights until a file is read."""
    before = comfy.memory_management.aimdo_enabled
    comfy.memory_management.aimdo_enabled = False
    try:
        yield
    finally:
        comfy.memory_management.aimdo_enabled = before


def fill(model: torch.nn.Module) -> None:
    """Fixed noise that keeps numbers near unit size."""
    generator = torch.Generator().manual_seed(8)
    for key, parameter in model.named_parameters():
        scale = ("norm" in key and key.endswith("weight")) or "lambda" in key
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1 + scale)


def described(config: dict[str, Any]) -> comfy.clip_vision.ClipVisionModel:
    """The host's model of a configuration, which every version reads from a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        return comfy.clip_vision.ClipVisionModel(str(file))


# No table that is written out: Manager would read it as the pack's own nodes.
NODE_CLASS_MAPPINGS = {node.__name__: node for node in (LoadNarrowTower, LoadShallowText)}
