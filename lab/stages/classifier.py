"""The classifier: real pictures, their reconstructions and noisy copies, both domains."""

from __future__ import annotations

from typing import Any

import torch
from comfy.taesd.taesd import TAESD
from torch import Tensor
from torch.nn import functional

from .. import store
from ..classifier import HEADS, Classifier, agreement
from ..models import make_vae, pixels_of
from ..training import Recipe, Result, autocast, device, here, pictures_of, train
from ..world import ATTRIBUTES, Scene, held_out_scenes, train_scenes

RECIPE = Recipe(steps=1500, batch=64, learning_rate=2e-3, weight_decay=0.05, average=0.995)
DAY, NIGHT = 6000, 3000


def build(seed: int) -> dict[str, Any]:
    """Train, and say how well held-out scenes are read, as they are and after the autoencoder."""
    torch.manual_seed(seed)
    scenes = train_scenes(DAY + NIGHT, seed + 3)
    images = torch.cat([pictures_of(scenes[:DAY]), pictures_of(scenes[DAY:], "night")])
    classifier = Classifier()
    result = fit(classifier, images, reconstructed(images), labels_of(scenes), seed)
    store.save("classifier", classifier.state_dict())
    return {**vars(result), **accuracies(classifier.eval(), held_out_scenes(720, seed + 4))}


@torch.no_grad()
def reconstructed(images: Tensor, wobble: float = 0.15) -> Tensor:
    """Pictures through the autoencoder, their latents a little disturbed; uint8 as they came."""
    vae = make_vae()
    vae.load_state_dict(store.load("vae"))
    vae.to(device())
    with autocast():
        parts = [through(vae, part, wobble).cpu() for part in images.split(100)]
    return torch.cat(parts)


def through(vae: TAESD, images: Tensor, wobble: float) -> Tensor:
    """One batch of `reconstructed`."""
    latents = vae.encode(here(pixels_of(images))).float()
    latents = latents + wobble * latents.std() * torch.randn_like(latents)
    again = vae.decode(latents).float()
    return again.add(1).mul(127.5).round().clamp(0, 255).byte().movedim(1, -1)


def labels_of(scenes: list[Scene]) -> dict[str, Tensor]:
    """Every head's true values."""
    read = {key: [names.index(getattr(s, key)) for s in scenes] for key, names in ATTRIBUTES.items()}
    domain = [int(i >= DAY) for i in range(len(scenes))]
    return {key: torch.tensor(values) for key, values in {**read, "domain": domain}.items()}


def fit(classifier: Classifier, images: Tensor, again: Tensor, labels: dict[str, Tensor], seed: int) -> Result:
    """Cross-entropy over all heads."""
    generator = torch.Generator().manual_seed(seed)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(images), (RECIPE.batch,), generator=generator)
        seen = torch.where((torch.rand(RECIPE.batch, generator=generator) < 0.5)[:, None, None, None],
                           images[chosen], again[chosen]).float() / 255  # fmt: skip
        noise = torch.randn(seen.shape, generator=generator) * 0.06 * torch.rand(RECIPE.batch, 1, 1, 1)
        scores = classifier(here((seen + noise).clamp(0, 1)))
        first, *others = (functional.cross_entropy(scores[key].float(), here(labels[key][chosen])) for key in HEADS)
        return sum(others, first)

    return train(classifier, loss_of, RECIPE, "classifier")


def accuracies(classifier: Classifier, scenes: list[Scene]) -> dict[str, Any]:
    """Held-out scenes, by attribute."""
    images = pictures_of(scenes)
    versions = {"real": images, "reconstructed": reconstructed(images, 0.0)}
    readings = {key: classifier.read(pictures / 255) for key, pictures in versions.items()}
    return {key: {name: agreement(scenes, read, name) for name in ATTRIBUTES} for key, read in readings.items()}
