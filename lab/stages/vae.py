"""The autoencoder: 64-pixel pictures to latents (4, 8, 8) of about unit variance, both domains."""

from __future__ import annotations

from typing import Any

import torch
from comfy.taesd.taesd import TAESD
from torch import Tensor
from torch.nn import functional

from .. import store
from ..models import initialise, make_vae, pixels_of
from ..training import Recipe, Result, here, pictures_of, train
from ..world import SIDE, train_scenes

RECIPE = Recipe(steps=4000, batch=12, learning_rate=1e-3, weight_decay=1e-4, average=0.995)
DAY, NIGHT = 9000, 3000
CROP = 32  # pixels of the squares it learns from: it is convolutional, and small squares make more steps
NOISE = 0.1  # added to the latents, so that near ones decode alike
SPREAD = 2e-3  # weight of the latents' squares, which keeps them near zero


def build(seed: int) -> dict[str, Any]:
    """Train, fit the latents' scale and preview colours, save."""
    torch.manual_seed(seed)
    pictures = torch.cat([pictures_of(train_scenes(DAY, seed)), pictures_of(train_scenes(NIGHT, seed + 1), "night")])
    vae = initialise(make_vae()).requires_grad_(True).to(memory_format=torch.channels_last)
    result = fit(vae, pixels_of(pictures), seed)
    vae.eval().requires_grad_(False)
    latent = fit_latents(vae, pixels_of(pictures[:: len(pictures) // 600]))
    store.save("vae", vae.state_dict(), {"latent": latent})
    return {**vars(result), "scale": latent["scale"]}


def fit(vae: TAESD, pixels: Tensor, seed: int) -> Result:
    """Reconstruct squares of pictures."""
    generator = torch.Generator().manual_seed(seed)

    def loss_of(step: int) -> Tensor:
        seen = here(squares(pixels[torch.randint(len(pixels), (RECIPE.batch,), generator=generator)], generator))
        latents = vae.encode(seen.contiguous(memory_format=torch.channels_last)).float()
        again = vae.decode(latents + NOISE * here(torch.randn(latents.shape, generator=generator))).float()
        return reconstruction(again, seen) + SPREAD * latents.square().mean()

    return train(vae, loss_of, RECIPE, "vae")


def squares(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A square at a random place of each picture, (N, 3, CROP, CROP)."""
    corners = torch.randint(SIDE - CROP + 1, (len(pixels), 2), generator=generator).tolist()
    return torch.stack([one[:, y : y + CROP, x : x + CROP] for one, (y, x) in zip(pixels, corners, strict=True)])


def reconstruction(again: Tensor, pixels: Tensor) -> Tensor:
    """Mean absolute and squared error of the pixels, and the error of their differences along rows and columns."""
    error = again - pixels
    slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + 0.5 * slopes


def fit_latents(vae: TAESD, pixels: Tensor) -> dict[str, Any]:
    """The factor to unit variance, and the best linear map from a latent to its picture's colours (for previews)."""
    with torch.no_grad():
        means = torch.cat([vae.encode(batch) for batch in pixels.split(50)])
    scale = float(1 / means.std())
    latents = (means * scale).movedim(1, -1).reshape(-1, 4)
    colours = functional.avg_pool2d(pixels, 8).movedim(1, -1).reshape(-1, 3)
    solved = torch.linalg.lstsq(functional.pad(latents, (0, 1), value=1.0), colours).solution
    return {"scale": scale, "rgb_factors": solved[:4].tolist(), "rgb_bias": solved[4].tolist()}
