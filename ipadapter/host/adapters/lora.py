"""The LoRA of a FaceID adapter on a MODEL, as weight patches of the host's own."""

from __future__ import annotations

import logging
from pathlib import Path

import comfy.sd
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor

from ...adapters.lora import LowRank, changes_of
from ...backbones.known import attention_names
from ...errors import IPAdapterError
from ..backbones.replaced import MODEL_PREFIX
from .adapter import Adapter


def add_lora(model: ModelPatcher, adapter: Adapter, weight: float) -> ModelPatcher:
    """A model with the adapter's LoRA, once: the one given where it has it already, or there is none to add."""
    lora = adapter.patcher.model.lora
    if not lora or not weight:
        return model
    changes = changes_of(lora, attention_names(model.model.diffusion_model))
    name, change = next(iter(changes.items()))
    if has_change(model, MODEL_PREFIX + name, change.down):
        logging.info("IP-Adapter: the model already has the LoRA of '%s'.", adapter.spec.name)
        return model
    clone = model.clone()
    clone.add_patches({MODEL_PREFIX + name: host_patch(change) for name, change in changes.items()}, weight)
    return clone


def load_lora(model: ModelPatcher, path: Path, name: str, weight: float) -> ModelPatcher:
    """A model with a LoRA file as the host's Load LoRA puts it on, once: the one given where it has it already.

    Raises IPAdapterError where nothing of it fits.
    """
    tensors = comfy.utils.load_torch_file(str(path), safe_load=True)
    changed, _ = comfy.sd.load_lora_for_models(model, None, tensors, weight, 0)
    if changed.patches_uuid == model.patches_uuid or not changed.patches:
        raise IPAdapterError(f"the LoRA '{name}' changes nothing in this model: use the LoRA of the model's base.")
    if repeats(model, changed):
        logging.info("IP-Adapter: the model already has the LoRA '%s'.", name)
        return model
    return changed


def repeats(model: ModelPatcher, changed: ModelPatcher) -> bool:
    """Whether a model's last changes were there before."""
    for key, patches in changed.patches.items():
        if len(patches) > len(model.patches.get(key, ())) and isinstance(patches[-1][1], LoRAAdapter):
            return has_change(model, key, patches[-1][1].weights[1])
    return False


def host_patch(change: LowRank) -> LoRAAdapter:
    """up · down without an alpha, which is a scale of 1."""
    return LoRAAdapter(set(), (change.up, change.down, None, None, None, None))


def has_change(model: ModelPatcher, key: str, down: Tensor) -> bool:
    """Whether a weight is changed by the same numbers already, by this pack or by Load LoRA."""
    patches = (patch for _, patch, *_ in model.patches.get(key, ()))
    return any(isinstance(patch, LoRAAdapter) and same(patch.weights[1], down) for patch in patches)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two matrices are equal but for how precisely they are stored."""
    return one.shape == other.shape and torch.allclose(one.float(), other.to(one.device).float(), rtol=1e-2, atol=1e-6)
