"""One picture for each recipe: what goes in, and what the laboratory's models make of it."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import comfy.sample
import torch
from PIL import Image
from torch import Tensor

from ipadapter.attention.selection import ALL, MapChoice
from ipadapter.host.sampling.attention_pictures import Look, picture_attention
from ipadapter.host.sampling.patching import apply_image_prompt
from ipadapter.host.sampling.recording import record_image_prompt
from ipadapter.prompts.prompt import ImagePrompt, Overlap
from ipadapter.prompts.regions import add_region, place_in_region
from ipadapter.strength.curve import Interpolation, read_keyframes
from ipadapter.strength.layers import read_layer_weights
from ipadapter.strength.strength import Strength
from lab.evidence import studio
from lab.evidence.claims import BASE, with_control
from lab.evidence.studio import Task, following, latent_of, picture_of, prompt, text
from lab.world import SIDE, Scene, edges, held_out_scenes

from .shown import Shown, picture, rows_of, words

STAR, SQUARE, HEART, STRIPED, TRIANGLE, CROSS, DOTTED = held_out_scenes(7, 17)
GREEN = replace(SQUARE, colour="green")
WEIGHTS = (0.0, 0.5, 1.0)
MIDDLE = slice(8, 56)  # pixels of the part that inpainting draws anew
FRAMES = 5
MAP_SIDE = 256  # pixels of a heat map, whose scale is to be read


def drawn(model: Any, said: str = "", seed: int = 0, **settings: Any) -> Tensor:
    """One picture (64, 64, 3) of a model under a text."""
    return studio.sample(model, Task(text(said), text(""), 1, seed, **settings))[0]


def sampled(model: Any, noise: Tensor) -> Tensor:
    """Pictures (B, H, W, 3) of noise (B, 4, H / 8, W / 8) of any size, under the empty text."""
    settings = (studio.STEPS, studio.GUIDANCE, studio.SAMPLER, studio.SCHEDULER, text(""), text(""))
    made = comfy.sample.sample(model, noise, *settings, torch.zeros_like(noise), disable_pbar=True, seed=0)
    return studio.vae().decode(made).clamp(0, 1)


def noise_of(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def led(given: ImagePrompt, strength: Strength, model: Any = None, mask: Tensor | None = None) -> Any:
    """A model that follows an image prompt with more than a weight."""
    return apply_image_prompt(model or studio.model(), studio.adapter(BASE), given, strength, mask)


def shown(scene: Scene, label: str = "reference") -> Shown:
    """A scene as it goes in."""
    return picture(label, picture_of(scene)[0])


def result() -> Image.Image:
    """References, and beside each what is drawn at three weights."""
    scenes = (SQUARE, STRIPED, TRIANGLE)
    models = [[(w, following(studio.model(), scene, BASE, w)) for w in WEIGHTS] for scene in scenes]
    drawings = [[picture(f"λ = {w:g}", drawn(model)) for w, model in row] for row in models]
    return rows_of([[shown(scene), *row] for scene, row in zip(scenes, drawings, strict=True)])


def image_prompt() -> Image.Image:
    """One reference, several seeds."""
    model = following(studio.model(), DOTTED, BASE)
    return rows_of([[shown(DOTTED), *(picture(f"seed {seed}", drawn(model, seed=seed)) for seed in range(3))]])


def image_and_text() -> Image.Image:
    """One reference, several texts."""
    model = following(studio.model(), DOTTED, BASE, 0.5)
    said = [f"a shape on a {ground} background" for ground in ("pink", "teal", "tan")]
    return rows_of([[shown(DOTTED), *(picture(one, drawn(model, one)) for one in said)]])


def style() -> Image.Image:
    """Subject from the text, look from the reference: a part of the layers follows it."""
    model = led(prompt(STRIPED), Strength(1.0, layers=(read_layer_weights("input: 0, middle: 0, output: 1"),)))
    said = [f"a {shape}" for shape in ("star", "circle", "cross")]
    return rows_of([[shown(STRIPED), *(picture(one, drawn(model, one)) for one in said)]])


def controlnet() -> Image.Image:
    """What from one picture, where from the edges of another."""
    lines = picture("structure", torch.from_numpy(edges(SQUARE).copy()).float() / 255)
    task = Task(*with_control(SQUARE), seeds=1)
    models = {"structure alone": studio.model(), "both, λ = 0.7": following(studio.model(), DOTTED, BASE, 0.7)}
    made = [picture(label, studio.sample(model, task)[0]) for label, model in models.items()]
    return rows_of([[shown(DOTTED), lines, *made]])


def image_to_image() -> Image.Image:
    """A start, a reference, and how far it goes."""
    model, start = following(studio.model(), TRIANGLE, BASE), latent_of(SQUARE)
    made = [picture(f"denoise {part:g}", drawn(model, latent=start, denoise=part)) for part in (0.5, 0.75)]
    return rows_of([[shown(SQUARE, "start"), shown(TRIANGLE), *made]])


def inpainting() -> Image.Image:
    """The middle of a picture drawn anew after a reference."""
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, MIDDLE, MIDDLE] = 1
    hole = torch.lerp(picture_of(HEART), torch.ones(3), mask[..., None])[0]
    models = {"without reference": studio.model(), "with it": following(studio.model(), DOTTED, BASE)}
    made = [picture(one, drawn(model, latent=latent_of(HEART), mask=mask)) for one, model in models.items()]
    return rows_of([[shown(HEART, "start"), picture("mask", hole), shown(DOTTED), *made]])


def regions() -> Image.Image:
    """Two references, each with a half of the picture."""
    left = torch.zeros(1, SIDE, SIDE)
    left[..., : SIDE // 2] = 1
    pairs = ((SQUARE, left), (GREEN, 1 - left))
    parts = [place_in_region(prompt(scene), mask, 1.0, Overlap.SHARE) for scene, mask in pairs]
    made = drawn(led(reduce(add_region, parts), Strength(1.0)))
    return rows_of([[shown(SQUARE, "left"), shown(GREEN, "right"), picture("both", made)]])


def two_references() -> Image.Image:
    """Two prompts at once, each with its own weight."""
    weights = ((1.0, 0.0), (0.6, 0.4), (0.4, 0.6), (0.0, 1.0))
    first = [following(studio.model(), SQUARE, BASE, one) for one, _ in weights]
    both = [following(model, DOTTED, BASE, other) for model, (_, other) in zip(first, weights, strict=True)]
    made = [picture(f"{one:g} and {other:g}", drawn(model)) for (one, other), model in zip(weights, both, strict=True)]
    return rows_of([[shown(SQUARE, "first"), shown(DOTTED, "second"), *made]])


def weight_curve() -> Image.Image:
    """A weight that stays, one that leads and lets go, and one that comes late."""
    said = "a shape on a pink background"
    models = {
        name: led(prompt(STRIPED), Strength(1.0, curves=(read_keyframes(name, Interpolation.LINEAR),)))
        for name in ("0: 1, 1: 1", "0: 1, 0.4: 0", "0: 0, 0.6: 1")
    }
    made = [picture(name, drawn(model, said)) for name, model in models.items()]
    return rows_of([[shown(STRIPED), words(said), *made]])


def animation() -> Image.Image:
    """A batch of one noise that goes from one reference to another."""
    ramp = [frame / (FRAMES - 1) for frame in range(FRAMES)]
    first = led(prompt(SQUARE), Strength(1.0, frames=tuple(1 - part for part in ramp)))
    both = led(prompt(DOTTED), Strength(1.0, frames=tuple(ramp)), first)
    made = sampled(both, noise_of(0, 1, 4, SIDE // 8, SIDE // 8).repeat(FRAMES, 1, 1, 1))
    frames = [picture(f"frame {number}", one) for number, one in enumerate(made)]
    return rows_of([[shown(SQUARE, "first"), *frames, shown(DOTTED, "last")]], side=112)


def attention_map() -> Image.Image:
    """Where in a picture its image prompt acted: the share of the attention's output, with its scale."""
    model, record = record_image_prompt(following(studio.model(), DOTTED, BASE))
    large = (MAP_SIDE, MAP_SIDE)
    made = torch.nn.functional.interpolate(drawn(model)[None].movedim(-1, 1), large, mode="bicubic").movedim(1, -1)
    choice, look = MapChoice(ALL, 0, studio.STEPS - 1, 0), Look("lowest to highest", 0.6)
    heat = picture_attention(record, made.clamp(0, 1), choice, look).overlay[0]
    return rows_of([[shown(DOTTED), picture("picture", made[0].clamp(0, 1)), picture("share", heat)]], side=MAP_SIDE)
