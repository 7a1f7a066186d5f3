"""The LoRA inside a FaceID adapter: low-rank changes to every attention of the UNet, trained together with it.

Key number 2i is the self-attention and 2i + 1 the cross-attention of the block that layer i is in (reference
`attention_processor_faceid.py`): y = W x + up(down(x)), which is the weight W + up · down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import IPAdapterError
from ..files.tensors import Tensors
from .checkpoint import Checkpoint, shape

LORA_KEY = re.compile(r"([0-9]{1,4})\.to_(q|k|v|out)_lora\.(?:down|up)\.weight")
ATTENTIONS_A_LAYER = 2  # the self-attention of its block too
LORA_WEIGHTS = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}


@dataclass(frozen=True)
class LowRank:
    """One change up · down of a weight."""

    up: Tensor  # (rows, rank)
    down: Tensor  # (rank, columns)


def lora_tensors(checkpoint: Checkpoint) -> Tensors:
    """Those of the file's tensors that belong to its LoRA."""
    return {key: tensor for key, tensor in checkpoint.ip_adapter.items() if LORA_KEY.fullmatch(key)}


def read_rank(checkpoint: Checkpoint, channels: tuple[int, ...], context_dim: int) -> int:
    """The LoRA's rank; 0 where the file has none. Raises IPAdapterError where some of it is missing or misshapen."""
    found = lora_tensors(checkpoint)
    if not found:
        return 0
    rank, _ = shape(checkpoint, "ip_adapter", "0.to_q_lora.down.weight", 2)
    expected = lora_shapes(channels, context_dim, rank)
    for key in sorted(expected.keys() | found.keys()):
        have = shape(checkpoint, "ip_adapter", key, 2)
        if have != expected.get(key):
            raise IPAdapterError(
                f"'{checkpoint.name}': ip_adapter.{key} is {list(have)}, where its other tensors ask for "
                f"{list(expected[key]) if key in expected else 'no such tensor'}; the file is damaged or mixes two "
                "adapters."
            )
    return rank


def lora_shapes(channels: tuple[int, ...], context_dim: int, rank: int) -> dict[str, tuple[int, int]]:
    """Every tensor of a LoRA with its shape. Only the cross-attention's keys and values read the text."""
    shapes = {}
    for number in range(2 * len(channels)):
        width = channels[number // 2]
        for name in LORA_WEIGHTS:
            columns = context_dim if number % 2 and name in "kv" else width
            shapes[f"{number}.to_{name}_lora.down.weight"] = (rank, columns)
            shapes[f"{number}.to_{name}_lora.up.weight"] = (width, rank)
    return shapes


def new_lora(channels: tuple[int, ...], context_dim: int, rank: int) -> Tensors:
    """One that changes nothing yet: `up` is zero, `down` normal with a deviation of 1 / rank (`LoRALinearLayer`)."""
    made = {}
    for key, sizes in lora_shapes(channels, context_dim, rank).items():
        made[key] = torch.zeros(sizes) if ".up." in key else torch.randn(sizes) / rank
    return made


def changes_of(lora: Mapping[str, Tensor], attentions: Sequence[str]) -> dict[str, LowRank]:
    """What changes in which weight, e.g. `{attention}.to_q.weight`, of attentions by name in the LoRA's order."""
    return {
        f"{attention}.{weight}.weight": LowRank(
            lora[f"{number}.to_{name}_lora.up.weight"], lora[f"{number}.to_{name}_lora.down.weight"]
        )
        for number, attention in enumerate(attentions)
        for name, weight in LORA_WEIGHTS.items()
    }
