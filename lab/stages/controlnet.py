"""The ControlNet: a copy of the UNet's first half that reads the shape's outline."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import store
from ..files import load_model
from ..models import initialise, make_control_net
from ..training import Average, Recipe, Result, device, here, lay_out_plainly, train
from ..world import Scene, edges, train_scenes
from .base import SNAPSHOT_EVERY, Captions, latents_of, noised

RECIPE = Recipe(steps=1500, batch=32, learning_rate=1e-3, average=0.995)
PICTURES = 6000


def build(seed: int) -> dict[str, Any]:
    """Train and save."""
    torch.manual_seed(seed)
    scenes = train_scenes(PICTURES, seed + 6)
    model = load_model("base").model
    net = beginning(model.diffusion_model)
    result = fit(net, model, scenes, seed)
    store.save("controlnet", net.state_dict())
    return vars(result)


def beginning(unet: nn.Module) -> nn.Module:
    """A ControlNet with the UNet's weights where it has them, its connections to the UNet still zero."""
    net = initialise(make_control_net())
    known = net.state_dict()
    net.load_state_dict({key: tensor for key, tensor in unet.state_dict().items() if key in known}, strict=False)
    return net.requires_grad_(True)


def hints_of(scenes: list[Scene]) -> Tensor:
    """Pictures of the outlines, uint8 (N, 3, 64, 64)."""
    return torch.from_numpy(np.stack([edges(scene) for scene in scenes])).movedim(-1, 1)


def fit(net: nn.Module, model: comfy.model_base.BaseModel, scenes: list[Scene], seed: int) -> Result:
    """Predict the noise with the outline's help; the UNet stays as it is."""
    latents, hints, captions = latents_of(scenes, "day"), hints_of(scenes), Captions(scenes, seed)
    unet = model.diffusion_model.to(device())
    for module in (net, unet):
        lay_out_plainly(module)
    generator = torch.Generator().manual_seed(seed)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(latents), (RECIPE.batch,), generator=generator)
        steps = torch.randint(1000, (RECIPE.batch,), generator=generator)
        noise = torch.randn(RECIPE.batch, *latents.shape[1:], generator=generator)
        x, context = here(noised(model, latents[chosen], steps, noise)), here(captions.draw(chosen))
        times, hint = here(steps.float()), here(hints[chosen].float() / 255)
        control = net(x=x, hint=hint, timesteps=times, context=context)
        predicted = unet(x, times, context=context, control=control)
        return functional.mse_loss(predicted.float(), here(noise))

    def peek(step: int, average: Average) -> None:
        if step % SNAPSHOT_EVERY == SNAPSHOT_EVERY - 1:
            store.save_snapshot("controlnet", average.tensors)

    return train(net, loss_of, RECIPE, "controlnet", peek)
