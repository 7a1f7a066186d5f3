"""A graph's adapter in words."""

from __future__ import annotations

from contextlib import nullcontext

from comfy.model_patcher import ModelPatcher

from ...library.description import Storage, describe_adapter
from ..backbones.replaced import own_attentions
from .adapter import Adapter


def describe_loaded(adapter: Adapter, model: ModelPatcher | None = None) -> str:
    """What an adapter is, and whether it fits a model."""
    module = adapter.patcher.model
    storage = Storage.of([*module.state_dict().values(), *module.lora.values()])
    with nullcontext() if model is None else own_attentions(model) as unet:
        return describe_adapter(adapter.spec, storage, adapter.provenance, unet)
