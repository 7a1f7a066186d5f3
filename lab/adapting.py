"""Training the laboratory's adapters: the pack's own trainer on the world's pictures."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from ipadapter.adapters.families import BASE
from ipadapter.adapters.family import Family, ProjectionSpec
from ipadapter.adapters.projection import LinearProjection
from ipadapter.adapters.provenance import Provenance
from ipadapter.adapters.writing import write_adapter
from ipadapter.files.tensors import Tensors
from ipadapter.host.encoders.encoder import encode_all, encode_zero_pixels, pixel_format
from ipadapter.host.training.frozen import FrozenUNet, frozen_unet
from ipadapter.images.pixels import Fit, prepare_pixels
from ipadapter.prompts.prompt import Feature, ImageFeatures
from ipadapter.training.fresh import new_adapter, new_spec
from ipadapter.training.loop import train
from ipadapter.training.module import AdapterTraining
from ipadapter.training.recipe import Drops, Recipe

from . import files, store
from .training import autocast, lay_out_plainly, pictures_of
from .world import MENTIONS, Scene, caption, train_scenes

PICTURES = 4000
STEPS, BATCH, LEARNING_RATE = 1500, 32, 1e-3
ENCODER = "the laboratory's CLIP"


@dataclass(frozen=True)
class Lesson:
    """`TrainingSet` of the trainer: the world's pictures, encoded."""

    clean: Tensor  # (N, 4, 8, 8), in the model's own scale
    encoded: Tensor  # (N, E) or (N, S, D)
    nothing: Tensor  # (1, E) or (1, S, D)
    words: Tensor  # (C, L, D), a row a caption, the empty one first
    told: Tensor  # (N,), which caption each picture has

    def __len__(self) -> int:
        return len(self.clean)

    def latents(self, indices: Sequence[int]) -> Tensor:
        return self.clean[list(indices)]

    def areas(self, indices: Sequence[int]) -> None:
        return None

    def features(self, indices: Sequence[int], dropped: Sequence[bool]) -> tuple[Tensor]:
        rows = zip(indices, dropped, strict=True)
        return (torch.cat([self.nothing if drop else self.encoded[i : i + 1].float() for i, drop in rows]),)

    def text(self, indices: Sequence[int], dropped: Sequence[bool]) -> dict[str, Tensor]:
        rows = zip(self.told[list(indices)].tolist(), dropped, strict=True)
        return {"c_crossattn": self.words[[0 if drop else row for row, drop in rows]]}


def make_lesson(frozen: FrozenUNet, kind: Family, scenes: list[Scene], seed: int) -> Lesson:
    """Pictures of scenes, each with one caption that tells some of it."""
    pictures = pictures_of(scenes).float().div(255)  # (N, 64, 64, 3)
    choose = random.Random(seed)
    captions = [caption(scene, choose.choice(MENTIONS)) for scene in scenes]
    words, told = encode_captions(captions)
    encoded, nothing = FEATURES[kind.reads[-1]](*encode_pictures(pictures))
    latents = frozen.patcher.model.process_latent_in(kept_latents(pictures))
    return Lesson(latents, encoded, nothing, words, told)


@torch.no_grad()
def encode_pictures(pictures: Tensor) -> tuple[ImageFeatures, ImageFeatures]:
    """Features of every picture and of none."""
    vision = files.load_clip_vision()
    (encoded,) = encode_all(vision, [prepare_pixels(pictures, None, Fit.CROP, pixel_format(vision))])
    return encoded, encode_zero_pixels(vision)


FEATURES = {
    Feature.IMAGE_EMBEDS: lambda encoded, nothing: (encoded.image_embeds, torch.zeros_like(encoded.image_embeds[:1])),
    Feature.PENULTIMATE: lambda encoded, nothing: (encoded.penultimate.half(), nothing.penultimate),
}


def kept_latents(pictures: Tensor) -> Tensor:
    """The pictures' latents, encoded once for all adapters."""
    name = hashlib.sha256(pictures.numpy().tobytes()).hexdigest()[:16]
    path = store.SNAPSHOTS / f"latents-{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"latents": encode_latents(pictures)}, path)
    return load_file(path)["latents"]


@torch.no_grad()
def encode_latents(pictures: Tensor) -> Tensor:
    """(N, 64, 64, 3) to (N, 4, 8, 8)."""
    vae = files.load_vae()
    return torch.cat([vae.encode(part) for part in tqdm(pictures.split(64), desc="latents")]).float()


@torch.no_grad()
def encode_captions(captions: list[str]) -> tuple[Tensor, Tensor]:
    """A table of contexts (C, L, D), the empty caption's first, and each caption's row (N,)."""
    clip = files.load_clip()
    rows = {text: row for row, text in enumerate(dict.fromkeys(["", *captions]))}
    made = [clip.encode_from_tokens(clip.tokenize(text)) for text in tqdm(rows, desc="captions")]
    return torch.cat(made).float(), torch.tensor([rows[text] for text in captions])


def projection_of(weights: Tensors) -> LinearProjection:
    """The paper's projection with these weights."""
    context_dim, feature_dim = weights["norm.weight"].numel(), weights["proj.weight"].shape[1]
    tokens = weights["proj.weight"].shape[0] // context_dim
    projection = LinearProjection(ProjectionSpec(BASE, feature_dim, context_dim, tokens), torch.nn)
    projection.load_state_dict({key: tensor.float() for key, tensor in weights.items()})
    return projection.requires_grad_(False)


def recipe_for(kind: Family, seed: int, steps: int = STEPS) -> Recipe:
    """The paper's, faster and shorter; text is dropped more often, as the world's captions tell nearly all."""
    return Recipe(
        kind, steps=steps, batch_size=BATCH, learning_rate=LEARNING_RATE, drops=Drops(0.1, 0.05, 0.05), seed=seed
    )


def build_adapter(name: str, kind: Family, seed: int) -> dict[str, Any]:
    """Train an adapter of a kind and write its file."""
    recipe = recipe_for(kind, seed)
    with frozen_unet(files.load_model(), None, gradient_checkpointing=False) as frozen:
        lesson = make_lesson(frozen, kind, train_scenes(PICTURES, seed + 1000), seed)
        spec = new_spec(name, kind, recipe.token_count, lesson.encoded.shape[-1], frozen.layers)
        training = AdapterTraining(new_adapter(spec, frozen.layer_weights(), seed), frozen)
        numbers = teach(training, lesson, recipe, name)
    write_adapter(store.path_of(name), training.adapter, Provenance(ENCODER, recipe.steps, "Apache-2.0"), torch.float16)
    return numbers


def teach(training: AdapterTraining, lesson: Lesson, recipe: Recipe, name: str) -> dict[str, Any]:
    """Run the trainer with a progress bar, with plain attention: in bf16 it has the faster gradient on a CPU.

    Autocast is entered for every forward pass: it keeps its copies of the weights until it is left.
    """
    lay_out_plainly(training.model.patcher.model.diffusion_model)  # type: ignore[attr-defined]
    training.forward = autocast()(training.forward)  # type: ignore[method-assign]
    began = time.perf_counter()
    bar = tqdm(total=recipe.steps, desc=name, mininterval=10)
    with bar, sdpa_kernel(SDPBackend.MATH):
        losses = train(training, lesson, recipe, lambda step, loss: note(bar, loss))
    seconds = time.perf_counter() - began
    return {"loss": float(np.mean(losses[-100:])), "seconds": seconds, "steps": recipe.steps}


def note(bar: tqdm, loss: float) -> None:
    """Show a step."""
    bar.update()
    bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
