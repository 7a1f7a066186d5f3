"""The UNets of Stable Diffusion and their kin.

Public files number layers in the order in which diffusers lists a UNet's attention processors: down, up, middle.
In the UNet's own names that is input blocks, output blocks, middle block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from .backbone import Block, BlockName, CrossAttentionLayer, Grid
from .bases import KOLORS, USUAL, BaseModel, base_for, base_model
from .unet_presets import UNET_PRESETS

TRANSFORMER_BLOCK = re.compile(r"^(input|output|middle)_blocks?\.(\d+)\.(?:\d+\.)?transformer_blocks\.(\d+)$")
ORDER = ("input", "output", "middle")
ATTENTIONS = ("attn1", "attn2")
TEXT_ATTENTION = "attn2"  # the host's name for it
SHAPES = {16: "sd15", 11: "sdxl"}  # by the number of transformers
GRIDS = 5  # each half of the one above
KOLORS_ADM = 5632  # width of Kolors' pooled conditioning; SDXL's is 2816


class UNet:
    """The `Backbone` of SD1.5, SD2.1, SDXL and Kolors."""

    layers_called = "UNet cross-attention"
    models = "an SD1.5, SD2.1, SDXL or Kolors model"
    parts = ("input", "middle", "output")
    single = frozenset({"middle"})
    levels = ("input 1", "input 2", "input 3", "middle", "output 1", "output 2", "output 3")
    presets = UNET_PRESETS
    tables = "are defined for SD1.5 (16 transformers) and SDXL (11)"
    pixels = 8
    names = {"input": "in", "middle": "mid", "output": "out"}

    def short(self, block: BlockName) -> str:
        return self.names[block[0]] + f" {block[1]}" * (block[0] not in self.single)

    def block_at(self, name: str) -> str | None:
        found = TRANSFORMER_BLOCK.match(name.removesuffix(f".{TEXT_ATTENTION}"))
        return f"{found[1]} block {found[2]}" if found and name.endswith(f".{TEXT_ATTENTION}") else None

    def find_blocks(self, model: nn.Module) -> tuple[Block, ...]:
        found = [
            transformer_block(match, module)
            for name, module in model.named_modules()
            if (match := TRANSFORMER_BLOCK.match(name)) and getattr(module, TEXT_ATTENTION, None) is not None
        ]
        return tuple(sorted(found, key=lambda block: (ORDER.index(block.layer.place[0]), *block.layer.place[1:])))

    def identify(self, model: nn.Module, layers: Sequence[CrossAttentionLayer]) -> BaseModel:
        channels, context_dim = getattr(model, "in_channels", USUAL), layers[0].context_dim
        is_kolors = context_dim == 2048 and adm_width(model) == KOLORS_ADM
        return base_model(KOLORS if is_kolors else base_for(context_dim), context_dim, len(layers), channels)

    def levels_of(self, layers: Sequence[CrossAttentionLayer]) -> dict[BlockName, str]:
        """Input blocks of consecutive numbers, and the output blocks that mirror them."""
        blocks = sorted({layer.block for layer in layers})
        inputs = runs([number for part, number in blocks if part == "input"])
        outputs = [number for part, number in blocks if part == "output"]
        levels: dict[BlockName, str] = {block: "middle" for block in blocks if block[0] == "middle"}
        for level, numbers in enumerate(inputs, 1):
            levels |= {("input", number): f"input {level}" for number in numbers}
        for level, run in enumerate(reversed(inputs), 1):
            taken, outputs = outputs[: len(run) + 1], outputs[len(run) + 1 :]
            levels |= {("output", number): f"output {level}" for number in taken}
        return levels | {("output", number): f"output {len(inputs)}" for number in outputs}

    def shape_of(self, layers: Sequence[CrossAttentionLayer]) -> str | None:
        return SHAPES.get(len({layer.block for layer in layers}))

    def grids(self, latent: Grid) -> tuple[Grid, ...]:
        """Each level's is half of the one above, rounded up."""
        return tuple((-(-latent[0] // 2**level), -(-latent[1] // 2**level)) for level in range(GRIDS))


def transformer_block(match: re.Match[str], module: nn.Module) -> Block:
    """One transformer block. The middle block's number is always 0."""
    part, number, depth = match[1], int(match[2]), int(match[3])
    attention: Any = getattr(module, TEXT_ATTENTION)
    channels, context_dim = attention.to_q.weight.shape[0], attention.to_k.weight.shape[1]
    place = (part, 0 if part == "middle" else number, depth)
    layer = CrossAttentionLayer(place, channels, context_dim, int(attention.heads))
    return Block(match[0], layer, attention, tuple(f"{match[0]}.{name}" for name in ATTENTIONS))


def adm_width(unet: nn.Module) -> int | None:
    """Width of the pooled conditioning, where the UNet has one."""
    embedding = getattr(unet, "label_emb", None)
    modules = embedding.modules() if isinstance(embedding, nn.Module) else ()
    return next((module.in_features for module in modules if isinstance(module, nn.Linear)), None)


def runs(numbers: Sequence[int]) -> list[list[int]]:
    """Consecutive numbers together: 1, 2, 4, 5 to [1, 2], [4, 5]."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found


UNET = UNet()
