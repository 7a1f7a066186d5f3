"""The base model of the wider world: the parts that the fine-tuned base learned, taught wide scenes instead."""

from __future__ import annotations

from typing import Any

import torch

from .. import store
from ..files import load_model
from ..training import Recipe
from ..wide import train_wide
from .base import Captions, alike, by_noise, fit, latents_of
from .fine_tuned import choose

NAME = "wide-base"
ROUNDS = (  # and how the noise levels count in each
    (Recipe(steps=1200, batch=32, learning_rate=1e-3, average=0.995), alike),
    (Recipe(steps=600, batch=32, learning_rate=1e-3, average=0.995), by_noise),
)
PICTURES = 4000


def build(seed: int) -> dict[str, Any]:
    """Train and save what changed."""
    torch.manual_seed(seed)
    scenes = train_wide(PICTURES, seed + 8)
    model = load_model("base").model
    learned = choose(model.diffusion_model)
    latents, captions = latents_of(scenes, "day"), Captions(scenes, seed)
    results = [
        fit(model, latents, captions, recipe, NAME, seed + number, weigh)
        for number, (recipe, weigh) in enumerate(ROUNDS)
    ]
    weights = model.diffusion_model.state_dict()
    store.save(NAME, {name: weights[name] for name in learned})
    seconds, steps = (sum(getattr(one, key) for one in results) for key in ("seconds", "steps"))
    return {**vars(results[-1]), "seconds": seconds, "steps": steps}
