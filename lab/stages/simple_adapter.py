"""The paper's ablation: four image tokens beside the text's in the frozen attention; only the projection learns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ipadapter.adapters.families import BASE
from ipadapter.adapters.family import ProjectionSpec
from ipadapter.adapters.projection import LinearProjection
from ipadapter.host.training.frozen import FrozenUNet, frozen_unet
from ipadapter.training.fresh import new_adapter, new_spec
from ipadapter.training.module import AdapterTraining, Batch
from ipadapter.training.objective import prediction_errors

from .. import files, store
from ..adapting import make_lesson, recipe_for, teach

NAME = "simple-adapter"


class SimpleTraining(AdapterTraining):
    """The same step with the tokens in another place."""

    def __init__(self, projection: torch.nn.Module, model: FrozenUNet) -> None:
        super().__init__(projection, model)  # type: ignore[arg-type]

    def forward(self, batch: Batch) -> Tensor:
        noisy = self.model.add_noise(batch.latents, batch.noise, batch.sigma)
        tokens = self.adapter(batch.features)
        text = batch.text | {"c_crossattn": torch.cat([batch.text["c_crossattn"], tokens], dim=1)}
        denoised = self.model.denoise(noisy, batch.sigma, text, {})
        return prediction_errors(self.model.prediction, denoised, batch.latents, batch.sigma).mean()


def build(seed: int) -> dict[str, Any]:
    """Train and save it: the same pictures, noise, steps and first projection as the decoupled adapter."""
    recipe = recipe_for(BASE, seed)
    with frozen_unet(files.load_model(), None, gradient_checkpointing=False) as frozen:
        lesson = make_lesson(frozen, BASE, seed)
        spec = new_spec(NAME, BASE, recipe.token_count, lesson.encoded.shape[-1], frozen.layers)
        projection = new_adapter(spec, frozen.layer_weights(), seed).image_proj
        numbers = teach(SimpleTraining(projection, frozen), lesson, recipe, NAME)
    store.save(NAME, projection.state_dict(), {"tokens": recipe.token_count, "steps": recipe.steps})
    return numbers


def load() -> LinearProjection:
    """The trained projection."""
    weights = store.load(NAME)
    context_dim, feature_dim = weights["norm.weight"].numel(), weights["proj.weight"].shape[1]
    tokens = weights["proj.weight"].shape[0] // context_dim
    projection = LinearProjection(ProjectionSpec(BASE, feature_dim, context_dim, tokens), torch.nn)
    projection.load_state_dict(weights)
    return projection.requires_grad_(False)
