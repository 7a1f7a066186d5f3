"""Small models with random weights, loaded as the host loads a file on this device."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from comfy.model_patcher import ModelPatcher
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength
from torch import Tensor

from tests.image_prompts import image_prompt
from tests.small import Layout, host_model, reference_weights
from tests.world import Call, adapter_file, host_adapter


@cache
def loaded_model(layout: Layout, dtype: torch.dtype = torch.float32) -> ModelPatcher:
    """A model that can be loaded a second time without dynamic VRAM, as those of the host's loaders can."""
    model = host_model(layout, reference_weights(layout), dtype)
    model.cached_patcher_init = (plain_model, (layout, dtype))
    return model


def plain_model(layout: Layout, dtype: torch.dtype, disable_dynamic: bool = True) -> ModelPatcher:
    """The same model under the host's older memory management."""
    made = host_model(layout, reference_weights(layout), dtype)
    return ModelPatcher(made.model, made.load_device, made.offload_device)


def applied(layout: Layout, family: str = "base", strength: Strength | None = None, seed: int = 3) -> ModelPatcher:
    """A model with a small random adapter."""
    adapter = host_adapter(adapter_file(layout, family))
    return apply_image_prompt(loaded_model(layout), adapter, image_prompt(seed=seed), strength or Strength())


def on_cpu(call: Call) -> Call:
    """A recorded call for the reference, which computes on the CPU in float32."""

    def moved(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.float().cpu()

    given = {name: moved(getattr(call, name)) for name in ("x", "context", "y", "output")}
    control = {name: [moved(tensor) for tensor in tensors] for name, tensors in call.control.items()}
    return replace(call, timestep=call.timestep.cpu(), control=control, **given)
