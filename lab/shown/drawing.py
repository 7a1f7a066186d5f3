"""How each picture that is shown is made: the pack's nodes' own functions on the laboratory's models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ipadapter.attention.selection import ALL as ALL_LAYERS
from ipadapter.attention.selection import LAST, MapChoice
from ipadapter.host.encoders.encoder import encode_image_prompt
from ipadapter.host.sampling.attention_pictures import Look, picture_attention
from ipadapter.host.sampling.patching import apply_image_prompt
from ipadapter.host.sampling.recording import record_image_prompt
from ipadapter.images.pixels import Fit
from ipadapter.strength.strength import Strength

from ..evidence import studio
from ..evidence.claims import BASE, shape_mask, with_control
from ..evidence.studio import Task, following, picture_of, sample, sample_from, text
from ..world import SIDE, Scene
from . import CIRCLE, CROSS, HEART, STAR, TRIANGLE

SEEDS = 5
SCALE = "lowest to highest"  # of the heat map


def best(pictures: Tensor, scene: Scene, names: tuple[str, ...]) -> Tensor:
    """The picture (64, 64, 3) that has most of some attributes of a scene, the first of equals."""
    found = studio.agreement(pictures, studio.values_of(scene, names))
    return pictures[int(torch.tensor(list(found.values())).sum(0).argmax())]


def told(model: Any, words: str = "", **more: Any) -> Tensor:
    """Pictures that a model draws with these words."""
    return sample(model, Task(text(words), text(""), seeds=SEEDS, **more))


def follow(scene: Scene, weight: float = 1.0, words: str = "") -> Tensor:
    return told(following(studio.model(), scene, BASE, weight), words)


ALL = ("shape", "colour", "style", "background")


def alone(weight: float, scene: Scene = HEART) -> Tensor:
    pictures = follow(scene, weight)
    return best(pictures, scene, ALL) if weight == 1 else pictures[0]


def with_words() -> Tensor:
    cut_out = studio.prompt(STAR, shape_mask(STAR))
    model = following(studio.model(), cut_out, BASE)
    return best(told(model, "a shape on a pink background"), replace(STAR, background="pink"), ALL)


def style() -> Tensor:
    return best(follow(HEART, 0.6, "a star"), replace(HEART, shape="star"), ALL)


def composition() -> Tensor:
    wanted = replace(STAR, colour="red", style="solid", background="tan")
    return best(follow(STAR, 0.45, "a solid red star on a tan background"), wanted, ALL)


def structured(guide: Scene, scene: Scene) -> Tensor:
    model = following(studio.model(), scene, BASE)
    pictures = sample(model, Task(*with_control(guide), seeds=SEEDS))
    return best(pictures, replace(scene, shape=guide.shape), ALL)


def changed() -> Tensor:
    model = following(studio.model(), HEART, BASE)
    return best(told(model, latent=studio.latent_of(CROSS), denoise=0.75), HEART, ALL)


def inpainted() -> Tensor:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 8:56, 8:56] = 1
    model = following(studio.model(), HEART, BASE)
    return best(told(model, latent=studio.latent_of(CIRCLE), mask=mask), replace(HEART, background="pink"), ALL)


def mixed(first: float, second: float) -> Tensor:
    """A picture after two references at once."""
    model = following(following(studio.model(), HEART, BASE, first), STAR, BASE, second)
    return told(model)[4]


def both() -> Tensor:
    """A picture after two references at once: one's shape and style, the other's colour and background."""
    model = following(following(studio.model(), CIRCLE, BASE, 0.5), HEART, BASE, 0.5)
    return best(told(model), replace(HEART, colour=CIRCLE.colour, background=CIRCLE.background), ALL)


@cache
def regions() -> Tensor:
    """A picture (64, 128, 3) whose left half follows one reference and whose right half another."""
    model = studio.model()
    for scene, half in ((HEART, slice(0, SIDE)), (STAR, slice(SIDE, 2 * SIDE))):
        mask = torch.zeros(1, SIDE, 2 * SIDE)
        mask[..., half] = 1
        model = apply_image_prompt(model, studio.adapter(BASE), studio.prompt(scene), Strength(1.0), mask=mask)
    channels, height, width = studio.LATENT
    noise = torch.randn((1, channels, height, 2 * width), generator=torch.Generator().manual_seed(0))
    return sample_from(model, noise, Task(text(""), text("")))[0]


def wide() -> Tensor:
    """A picture after a reference that is twice as wide as high, read as its two squares."""
    prompt = encode_image_prompt(studio.vision(), picture_of(TRIANGLE).repeat(2, 1, 1, 1), Fit.CROP)
    return best(told(following(studio.model(), prompt, BASE)), TRIANGLE, ALL)


def acted() -> Tensor:
    """Where an image prompt acted, over its picture, without the bar below."""
    model, record = record_image_prompt(following(studio.model(), STAR, BASE))
    pictures = sample(model, Task(text("a star"), text(""), seeds=1))
    overlay = picture_attention(record, pictures, MapChoice(ALL_LAYERS, 0, LAST, 0), Look(SCALE, 0.6)).overlay
    side = overlay.shape[2]
    square = overlay[:, :side].movedim(-1, 1)
    return torch.nn.functional.interpolate(square, (SIDE, SIDE), mode="area").movedim(1, -1)[0]


DRAWINGS: dict[str, Callable[[], Tensor]] = {
    "image alone": lambda: alone(1.0),
    "image, half": lambda: alone(0.5),
    "no image": lambda: alone(0.0),
    "image and words": with_words,
    "a circle": lambda: alone(1.0, CIRCLE),
    "style and words": style,
    "composition and words": composition,
    "style and composition": lambda: structured(TRIANGLE, STAR),
    "image and structure": lambda: structured(STAR, CIRCLE),
    "image from image": changed,
    "inpainted": inpainted,
    "two images": both,
    "left region": lambda: regions()[:, :SIDE],
    "wide reference": wide,
    "right region": lambda: regions()[:, SIDE:],
    "first frame": lambda: mixed(1.0, 0.0),
    "second frame": lambda: mixed(0.65, 0.35),
    "third frame": lambda: mixed(0.35, 0.65),
    "fourth frame": lambda: mixed(0.0, 1.0),
    "where it acted": acted,
    "another": lambda: alone(1.0, TRIANGLE),
    "another and structure": lambda: structured(TRIANGLE, HEART),
    "one more": lambda: alone(1.0, CROSS),
}
