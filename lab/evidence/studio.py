"""Pictures made with the laboratory's models through the pack and the host's sampler, and what is seen in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import comfy.sample
import torch
from torch import Tensor

from ipadapter.host.adapters.adapter import Adapter, load_adapter_file
from ipadapter.host.encoders.encoder import encode_image_prompt
from ipadapter.host.sampling.patching import apply_image_prompt
from ipadapter.images.pixels import Fit
from ipadapter.prompts.prompt import ImagePrompt
from ipadapter.strength.strength import Strength

from .. import files, store
from ..classifier import Reading
from ..stages.clip import tokens_of
from ..world import SIDE, Scene, draw

STEPS, GUIDANCE, SAMPLER, SCHEDULER = 20, 3.0, "euler", "normal"
LATENT = (4, SIDE // 8, SIDE // 8)

Conditioning = list[list[Any]]


@dataclass(frozen=True)
class Task:
    """One sampling: what is told, what it starts from, and how many pictures (a seed each)."""

    positive: Conditioning
    negative: Conditioning
    seeds: int = 4
    first_seed: int = 0
    latent: Tensor | None = None  # (1, 4, 8, 8) to start from
    denoise: float = 1.0
    mask: Tensor | None = None  # (1, 64, 64), white is drawn anew


def sample(model: Any, task: Task) -> Tensor:
    """Pictures (S, 64, 64, 3) in 0 … 1. A seed's noise does not depend on how many there are."""
    seeds = range(task.first_seed, task.first_seed + task.seeds)
    noise = torch.stack([torch.randn(LATENT, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    return sample_from(model, noise, task)


def sample_from(model: Any, noise: Tensor, task: Task) -> Tensor:
    """Pictures (S, H, W, 3) in 0 … 1 from noise (S, 4, H / 8, W / 8)."""
    start = torch.zeros_like(noise) if task.latent is None else task.latent.expand_as(noise).clone()
    made = comfy.sample.sample(
        model,
        noise,
        STEPS,
        GUIDANCE,
        SAMPLER,
        SCHEDULER,
        task.positive,
        task.negative,
        start,
        denoise=task.denoise,
        noise_mask=task.mask,
        disable_pbar=True,
        seed=task.first_seed,
    )
    return vae().decode(made).clamp(0, 1)


@cache
def model(name: str = "base") -> Any:
    """A base model."""
    return files.load_model(name)


@cache
def vae() -> Any:
    """The autoencoder."""
    return files.load_vae()


@cache
def vision() -> Any:
    """The image encoder."""
    return files.load_clip_vision()


@cache
def control_net() -> Any:
    """The structure control."""
    return files.load_control_net()


@cache
def adapter(name: str) -> Adapter:
    """A trained adapter."""
    path = store.path_of(name)
    return load_adapter_file(path, path.name)


@cache
def text(words: str) -> Conditioning:
    """A text prompt."""
    clip = files_clip()
    return clip.encode_from_tokens_scheduled(clip.tokenize(words))


@cache
def files_clip() -> Any:
    """The text encoder."""
    return files.load_clip()


@cache
def picture_of(scene: Scene) -> Tensor:
    """A scene's picture, (1, 64, 64, 3) in 0 … 1."""
    return torch.from_numpy(draw(scene).copy()).float().div(255).unsqueeze(0)


def latent_of(scene: Scene) -> Tensor:
    """A scene through the autoencoder, (1, 4, 8, 8)."""
    return vae().encode(picture_of(scene))


def prompt(scene: Scene, mask: Tensor | None = None) -> ImagePrompt:
    """A scene as an image prompt."""
    return encode_image_prompt(vision(), picture_of(scene), Fit.CROP, mask=mask)


def following(base: Any, scene_or_prompt: Scene | ImagePrompt, name: str, weight: float = 1.0) -> Any:
    """A model that follows an image prompt."""
    given = prompt(scene_or_prompt) if isinstance(scene_or_prompt, Scene) else scene_or_prompt
    return apply_image_prompt(base, adapter(name), given, Strength(weight))


def embeddings(pictures: Tensor) -> Tensor:
    """Unit image embeddings (N, E) of pictures (N, 64, 64, 3)."""
    made = encode_image_prompt(vision(), pictures, Fit.CROP).parts[0].positive.image_embeds
    return torch.nn.functional.normalize(made, dim=-1)


def clip_i(pictures: Tensor, reference: Tensor) -> list[float]:
    """Cosine of each picture's image embedding with the reference's."""
    return (embeddings(pictures) @ embeddings(reference).T).flatten().tolist()


def clip_t(pictures: Tensor, words: str) -> list[float]:
    """Cosine of each picture's image embedding with a text's embedding, by the same encoder."""
    return (embeddings(pictures) @ embedding_of(words)).tolist()


@cache
def embedding_of(words: str) -> Tensor:
    """Unit text embedding (E,)."""
    made: Tensor = files.load_open_clip().encode_text(tokens_of([words]), normalize=True)[0]
    return made


@cache
def classifier() -> Any:
    """What reads pictures."""
    return files.load_classifier()


def seen(pictures: Tensor) -> list[Reading]:
    """What the classifier reads in each picture."""
    readings: list[Reading] = classifier().read(pictures)
    return readings


def agreement(pictures: Tensor, wanted: dict[str, str]) -> dict[str, list[float]]:
    """For each attribute that is wanted, whether each picture has it (1 or 0)."""
    read = seen(pictures)
    return {name: [float(getattr(reading, name) == value) for reading in read] for name, value in wanted.items()}


def centres(pictures: Tensor) -> Tensor:
    """Where the shape is in each picture, (N, 2) in pixels: the mean place of what differs from the border."""
    border = torch.cat([pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]], dim=1)
    paper = border.median(dim=1).values[:, None, None]
    weight = ((pictures - paper).abs().amax(dim=-1) > 0.2).float() + 1e-6  # (N, H, W)
    places = torch.arange(SIDE, dtype=torch.float32)
    total = weight.sum(dim=(1, 2))
    return torch.stack([(weight.sum(1) * places).sum(1) / total, (weight.sum(2) * places).sum(1) / total], dim=1)


def values_of(scene: Scene, names: Sequence[str]) -> dict[str, str]:
    """Some attributes of a scene."""
    return {name: getattr(scene, name) for name in names}
