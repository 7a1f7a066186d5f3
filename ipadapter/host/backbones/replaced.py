"""Attention modules that another pack has put in the place of a model's own, by the host's object patches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import comfy.utils
from comfy.model_patcher import ModelPatcher

from ...backbones.known import block_at
from ...errors import IPAdapterError

MODEL_PREFIX = "diffusion_model."
ASKED_FOR = ("to_q", "to_k", "to_v", "to_out")  # by the host, where a patch stands in the place of an attention


def replaced_block(name: str) -> str | None:
    """The block whose cross-attention an object patch of this name replaces, in users' words."""
    return block_at(name.removeprefix(MODEL_PREFIX))


def refuse_replaced(model: ModelPatcher) -> None:
    """Refuse a model in which something stands for an attention that the host cannot ask for queries and keys."""
    for name, module in model.object_patches.items():
        missing = [part for part in ASKED_FOR if not hasattr(module, part)]
        if (block := replaced_block(name)) and missing:
            raise IPAdapterError(
                f"another node has put its own attention in {block} of this model ({type(module).__name__}, which has "
                f"no {missing[0]}), so no image prompt can act there: connect the model from before that node."
            )


@contextlib.contextmanager
def own_attentions(model: ModelPatcher) -> Iterator[Any]:
    """The model's UNet with its own attentions where another MODEL has left others, as the host does until the next
    load. Raises IPAdapterError where others are this MODEL's own doing."""
    refuse_replaced(model)
    own = {
        name: module
        for name, module in model.object_patches_backup.items()
        if replaced_block(name) and name not in model.object_patches
    }
    left: dict[str, Any] = {name: comfy.utils.set_attr(model.model, name, module) for name, module in own.items()}
    try:
        yield model.model.diffusion_model
    finally:
        for name, module in left.items():
            comfy.utils.set_attr(model.model, name, module)
