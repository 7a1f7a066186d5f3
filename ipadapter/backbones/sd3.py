"""SD3 and SD3.5: joint blocks, in which text and picture keep their own weights and attend to each other.

Public files number layers as the blocks run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from .backbone import Block, CrossAttentionLayer
from .bases import SD35_LARGE, BaseModel
from .joint import JointBlocks

JOINT = "joint"
BLOCK_NAME = re.compile(rf"^{JOINT}_blocks\.(\d+)$")
HALVES = ("context_block", "x_block")  # what tells such a block from another model's of that name
ALL_BLOCKS = {SD35_LARGE: 38, "SD3.5 Medium": 24, "SD3 Medium": 24}  # blocks


class SD3Backbone(JointBlocks):
    """The `Backbone` of SD3 and SD3.5."""

    layers_called = "SD3 attention"
    models = "an SD3.5 model"
    parts = (JOINT,)
    levels = (JOINT,)
    tables = "are not defined for SD3.5"

    def find_blocks(self, model: nn.Module) -> tuple[Block, ...]:
        """None where the model only has names in common."""
        sizes: Any = model
        if not all(hasattr(model, size) for size in ("hidden_size", "num_heads")):
            return ()
        return tuple(
            Block(name, layer_of(int(match[1]), sizes.hidden_size, sizes.num_heads), module, ())
            for name, module in model.named_modules()
            if (match := BLOCK_NAME.match(name)) and all(hasattr(module, half) for half in HALVES)
        )

    def identify(self, model: nn.Module, layers: Sequence[CrossAttentionLayer]) -> BaseModel:
        base = sd3_base(find_first(model))
        if len(layers) == ALL_BLOCKS[base]:
            return BaseModel(base, base, base == SD35_LARGE)
        return BaseModel(base, f"a pruned {base} ({len(layers)} of {ALL_BLOCKS[base]} blocks)", published=False)


def layer_of(number: int, width: int, heads: int) -> CrossAttentionLayer:
    """One block's. Its text is as wide as its picture."""
    return CrossAttentionLayer((JOINT, number, 0), width, width, heads)


def find_first(model: nn.Module) -> nn.Module:
    """The first block's half for the picture, which tells the models apart."""
    blocks: Any = model.get_submodule(f"{JOINT}_blocks")
    half: nn.Module = blocks[0].x_block
    return half


def sd3_base(half: nn.Module) -> str:
    """SD3.5 Medium attends to the picture a second time, and SD3 normalises no queries."""
    if getattr(half, "x_block_self_attn", False):
        return "SD3.5 Medium"
    is_normed = not isinstance(half.get_submodule("attn.ln_q"), nn.Identity)  # weights may not be there yet
    return SD35_LARGE if is_normed else "SD3 Medium"


SD3 = SD3Backbone()
