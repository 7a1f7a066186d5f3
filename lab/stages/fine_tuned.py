"""The fine-tuned base: attention, biases and norms of the base model, taught the night domain with the same captions.

Convolutions and feed-forward widths stay the base model's, so that the file holds only what was learned.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .. import store
from ..files import load_model
from ..training import Recipe
from ..world import train_scenes
from .base import Captions, fit, latents_of

RECIPE = Recipe(steps=1500, batch=32, learning_rate=5e-4, average=0.995)
PICTURES = 6000


def build(seed: int) -> dict[str, Any]:
    """Train and save what changed."""
    torch.manual_seed(seed)
    scenes = train_scenes(PICTURES, seed + 5)
    model = load_model("base").model
    learned = choose(model.diffusion_model)
    result = fit(model, latents_of(scenes, "night"), Captions(scenes, seed), RECIPE, "fine-tuned", seed)
    weights = model.diffusion_model.state_dict()
    store.save("fine-tuned", {name: weights[name] for name in learned})
    return vars(result)


def choose(unet: nn.Module) -> list[str]:
    """Set which parameters learn; returns their names."""
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(parameter.ndim == 1 or "attn" in name or "emb_layers" in name or "ff.net.2" in name)
    return [name for name, parameter in unet.named_parameters() if parameter.requires_grad]
