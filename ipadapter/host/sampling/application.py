"""An image prompt through an adapter whose weights the host loads for it."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ...adapters.features import Read, features_for
from ...attention.application import Application, ApplyTarget, Making, follow_noise, make_application
from ...images.masks import refuse_mask
from ...prompts.prompt import ImagePrompt
from ...prompts.regions import masks_of
from ..adapters.adapter import Adapter

FULL_NOISE = 1.0  # noise level of a flow


def make_applications(
    adapter: Adapter, prompt: ImagePrompt, target: ApplyTarget, mask: Tensor | None
) -> tuple[Application, ...]:
    """Project a prompt, part by part. A part, a layer or a whole prompt of weight 0 is left out.

    Raises IPAdapterError where encoder, mask, layers or frames do not fit.
    """
    refuse_mask(mask)
    made, store = [], comfy.model_management.intermediate_device()
    progress = comfy.utils.ProgressBar(len(prompt.parts))
    for part, where in zip(prompt.parts, masks_of(prompt.parts, mask), strict=True):
        features = features_for(adapter.spec, prompt, part)
        if target.acting and target.strength.weight and not part.silent:
            comfy.model_management.load_models_gpu([adapter.patcher])
            images, none = (adapter.patcher.model.settle(on_device(adapter, one)) for one in features)
            making = Making(adapter.patcher.model, adapter.spec, part, (images, none), target)
            made.append(make_part(adapter, making, where, store))
        progress.update(1)
    return tuple(made)


def make_part(adapter: Adapter, making: Making, mask: Tensor | None, store: torch.device) -> Application:
    """K' and V' of a part. Those that follow the noise level are made for its highest, to see whether they can be."""
    time = making.time(FULL_NOISE)
    tokens = making.tokens(time)
    app = make_application(making.module, making.part, tokens, making.target, mask, store, time)
    if not adapter.spec.follows_noise:
        return app
    return follow_noise(app, making, (adapter.patcher,), adapter.patcher.load_device)


def on_device(adapter: Adapter, read: Read) -> Read:
    """What the projection takes, where its weights are, in float32."""
    return tuple(tensor.to(adapter.patcher.load_device, torch.float32) for tensor in read)
