"""The base model: the host's UNet, taught captions with the paper's epsilon loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_base
import torch
from torch import Tensor
from tqdm import tqdm

from .. import store
from ..files import load_clip, load_latent_format, load_vae
from ..models import initialise, make_model
from ..training import Average, Recipe, Result, autocast, here, lay_out_plainly, pictures_of, train
from ..world import EVERYTHING, MENTIONS, Scene, caption, every_caption, train_scenes

RECIPE = Recipe(steps=6000, batch=32, learning_rate=1e-3, average=0.999)
PICTURES = 10000
EMPTY, FULL = 0.1, 0.45  # shares of captions that say nothing and everything
SNAPSHOT_EVERY = 500


def build(seed: int) -> dict[str, Any]:
    """Train and save."""
    torch.manual_seed(seed)
    scenes = train_scenes(PICTURES, seed + 1)
    model = make_model(load_latent_format())
    initialise(model.diffusion_model)
    result = fit(model, latents_of(scenes, "day"), Captions(scenes, seed), RECIPE, "base", seed)
    store.save("base", model.diffusion_model.state_dict())
    return vars(result)


@torch.no_grad()
def latents_of(scenes: list[Scene], domain: str) -> Tensor:
    """The scenes' latents as the model reads them, (N, 4, 8, 8)."""
    vae, latent_format = load_vae(), load_latent_format()
    parts = [scenes[i : i + 200] for i in range(0, len(scenes), 200)]
    with autocast():
        means = [vae.encode(pictures_of(part, domain) / 255).float() for part in tqdm(parts, desc="latents")]
    return latent_format.process_in(torch.cat(means))


class Captions:
    """Contexts (N, tokens, width) of randomly chosen captions of chosen scenes; every caption is encoded once."""

    def __init__(self, scenes: list[Scene], seed: int) -> None:
        self.scenes = scenes
        self.generator = torch.Generator().manual_seed(seed)
        clip, texts = load_clip(), list(every_caption())
        self.rows = {text: row for row, text in enumerate(texts)}
        with torch.no_grad():
            self.contexts = torch.cat([clip.encode(text) for text in texts]).float()

    def draw(self, chosen: Tensor) -> Tensor:
        """One caption of each."""
        return self.contexts[[self.rows[self.choose(self.scenes[i])] for i in chosen]]

    def choose(self, scene: Scene) -> str:
        dice, which = torch.rand(2, generator=self.generator).tolist()
        if dice < EMPTY:
            return ""
        return caption(scene, EVERYTHING if dice < EMPTY + FULL else MENTIONS[int(which * len(MENTIONS))])


def noised(model: comfy.model_base.BaseModel, latents: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
    """Latents after `steps` of the diffusion: √ᾱ x + √(1 - ᾱ) ε."""
    signal = (1 / (1 + model.model_sampling.sigmas[steps] ** 2)).view(-1, 1, 1, 1)
    return signal.sqrt() * latents + (1 - signal).sqrt() * noise


def alike(errors: Tensor, sigma: Tensor) -> Tensor:
    """The mean of squared errors (N, C, h, w), every noise level alike."""
    return errors.mean()


def by_noise(errors: Tensor, sigma: Tensor) -> Tensor:
    """Weighed by the noise level σ (N,), by which errors of the noise fall: what is decided early counts as much."""
    return (errors.mean((1, 2, 3)) * sigma).mean()


def fit(
    model: comfy.model_base.BaseModel,
    latents: Tensor,
    captions: Captions,
    recipe: Recipe,
    name: str,
    seed: int,
    weigh: Callable[[Tensor, Tensor], Tensor] = alike,
) -> Result:
    """Predict the noise."""
    unet = model.diffusion_model
    lay_out_plainly(unet)
    generator = torch.Generator().manual_seed(seed)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(latents), (recipe.batch,), generator=generator)
        steps = torch.randint(1000, (recipe.batch,), generator=generator)
        noise = torch.randn(recipe.batch, *latents.shape[1:], generator=generator)
        x = noised(model, latents[chosen], steps, noise)
        predicted = unet(here(x), here(steps.float()), context=here(captions.draw(chosen)))
        errors = (predicted.float() - here(noise)).square()
        return weigh(errors, here(model.model_sampling.sigmas[steps]))

    def peek(step: int, average: Average) -> None:
        if step % SNAPSHOT_EVERY == SNAPSHOT_EVERY - 1:
            store.save_snapshot(name, average.tensors)

    if not any(parameter.requires_grad for parameter in unet.parameters()):
        unet.requires_grad_(True)
    return train(unet, loss_of, recipe, name, peek)
