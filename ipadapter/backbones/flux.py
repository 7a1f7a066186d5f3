"""FLUX.1 and its kin: double blocks, in which text and picture keep their own weights, then single blocks.

Public files number layers as they run: double blocks, then single blocks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from .backbone import Block, CrossAttentionLayer
from .bases import FLUX_1, BaseModel
from .joint import JointBlocks

DOUBLE, SINGLE = "double", "single"
WHOLE_BLOCKS = {DOUBLE: 19, SINGLE: 38}
BLOCK = re.compile(rf"^({DOUBLE}|{SINGLE})_blocks\.(\d+)$")
PARTS_OF_A_BLOCK = {DOUBLE: "img_attn", SINGLE: "linear1"}  # what tells it from another model's of that name
SCHNELL = "FLUX.1 schnell"
UNTRAINED = (
    "IP-Adapter: the adapters for FLUX.1 were trained with dev and its guidance; schnell follows them less, and a "
    "higher weight may be needed."
)
RELATIVES = {  # that are built alike: what tells each, and its name
    "global_modulation": "FLUX.2",
    "yak_mlp": "Ovis-Image",
}


class Flux(JointBlocks):
    """The `Backbone` of FLUX.1 (dev, Krea, Kontext, schnell, Fill) and Chroma."""

    layers_called = "FLUX attention"
    models = "a FLUX.1 or Chroma model"
    parts = (DOUBLE, SINGLE)
    levels = (DOUBLE, SINGLE)
    tables = "are not defined for FLUX"

    def find_blocks(self, model: nn.Module) -> tuple[Block, ...]:
        """None where the model only has names in common."""
        sizes = getattr(model, "params", None)
        if not all(hasattr(sizes, size) for size in ("hidden_size", "num_heads", "context_in_dim", "axes_dim")):
            return ()
        found = [
            joint_block(match, module, sizes)
            for name, module in model.named_modules()
            if (match := BLOCK.match(name)) and hasattr(module, PARTS_OF_A_BLOCK[match[1]])
        ]
        return tuple(sorted(found, key=lambda block: (self.parts.index(block.layer.place[0]), block.layer.place[1])))

    def identify(self, model: nn.Module, layers: Sequence[CrossAttentionLayer]) -> BaseModel:
        base, blocks = flux_base(model), self.find_blocks(model)  # an adapter may act in some of them only
        name = flux_name(model, base)
        remark = UNTRAINED if name == SCHNELL else ""
        counts = {part: sum(block.layer.place[0] == part for block in blocks) for part in self.parts}
        if base != FLUX_1 or counts == WHOLE_BLOCKS:
            return BaseModel(base, name, base == FLUX_1, remark)
        each = " and ".join(f"{counts[part]} of {whole} {part} blocks" for part, whole in WHOLE_BLOCKS.items())
        return BaseModel(base, f"a pruned {name} ({each})", False, remark)


def joint_block(match: re.Match[str], module: nn.Module, sizes: Any) -> Block:
    """One block. What it weighs is not asked: it may be packed in any way."""
    layer = CrossAttentionLayer((match[1], int(match[2]), 0), sizes.hidden_size, sizes.context_in_dim, sizes.num_heads)
    return Block(match[0], layer, module, ())


def flux_base(model: nn.Module) -> str:
    """FLUX.1, of which Chroma is made, or a relative that adapters are not for."""
    sizes: Any = getattr(model, "params", None)
    relative = next((name for mark, name in RELATIVES.items() if getattr(sizes, mark, False)), None)
    if relative or is_chroma(model):
        return relative or ("Chroma Radiance" if hasattr(model, "nerf_blocks") else FLUX_1)
    return FLUX_1 if getattr(model, "vector_in", None) is not None else "LongCat-Image"


def flux_name(model: nn.Module, base: str) -> str:
    """In users' words. Krea and Kontext are dev in all that a model shows."""
    if base != FLUX_1:
        return base
    if is_chroma(model):
        return "Chroma"
    return FLUX_1 if getattr(getattr(model, "params", None), "guidance_embed", True) else SCHNELL


def is_chroma(model: nn.Module) -> bool:
    """Chroma's modulation is a model of its own."""
    return hasattr(model, "distilled_guidance_layer")


FLUX = Flux()
