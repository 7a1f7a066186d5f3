"""The designs in the wider world: pictures after held-out references, and what is read off them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ipadapter.host.adapters.adapter import load_adapter_file
from ipadapter.host.sampling.patching import apply_image_prompt
from ipadapter.prompts.prompt import ImagePrompt
from ipadapter.strength.strength import Strength

from .. import files
from ..adapting import projection_of
from ..designs import FOUR, SIMPLE, WHOLE_MODEL, WIDE, Design
from ..reading import MIDDLE, Seen, read
from ..wide import DISC, MARGIN, held_out_wide
from ..world import SIDE, Point, Scene
from . import studio
from .simple import plain_tokens, with_tokens
from .studio import Task, clip_i, picture_of, sample
from .tables import WHOLE, Extent, Table

DISTANCES = ("place, pixels", "size, pixels", "companion's place, pixels")
SHARES = ("companion's colour", "shape", "colour", "background")
UNSAID = (*DISTANCES, SHARES[0])  # by any caption
MEASURES = (*DISTANCES, *SHARES, "CLIP-I")
SEEN = "a companion seen"  # whether one is there at all
BY_NIGHT = f"{FOUR.title}, on the fine-tuned base"
ANOTHER, SAME = "another reference", "the reference through the autoencoder"
UNTOLD = "no image prompt"


def wide_references(extent: Extent) -> list[Scene]:
    """Held-out scenes of the wider world, those left out whose companion cannot be told from the shape."""
    scenes = held_out_wide(2 * extent.references, 700)
    return [scene for scene in scenes if sees_companion(scene)][: extent.references]


def sees_companion(scene: Scene) -> bool:
    """Whether a scene's companion is read off its picture."""
    return read(as_array(picture_of(scene))[0]).companion_colour == scene.companion.colour  # type: ignore[union-attr]


@dataclass(frozen=True)
class Trained:
    """A design with its trained weights at work: pictures of a base model after an image prompt."""

    draw: Callable[[ImagePrompt, Extent], Tensor]


def decoupled(path: Path, base: Any) -> Trained:
    """The adapter of a file."""
    adapter = load_adapter_file(path, path.name)

    def draw(prompt: ImagePrompt, extent: Extent) -> Tensor:
        model = apply_image_prompt(base, adapter, prompt, Strength(1.0))
        return sample(model, Task(studio.text(""), studio.text(""), seeds=extent.seeds))

    return Trained(draw)


def simple(path: Path, base: Any) -> Trained:
    """Image tokens after the text's."""
    return told(projection_of(load_file(path)), base, with_tokens)


def whole(path: Path, base: Any) -> Trained:
    """Image tokens in place of the text's, and the UNet that learned to read them."""
    weights = {key: tensor.float() for key, tensor in load_file(path).items()}
    unet = {key.removeprefix("unet."): tensor for key, tensor in weights.items() if key.startswith("unet.")}
    base.model.diffusion_model.load_state_dict(unet)
    projection = {key.removeprefix("adapter."): t for key, t in weights.items() if key.startswith("adapter.")}
    return told(projection_of(projection), base, plain_tokens)


def told(projection: Any, base: Any, conditioning: Callable[[Tensor], Any]) -> Trained:
    """Pictures of a model that is told a projection's tokens."""

    def draw(prompt: ImagePrompt, extent: Extent) -> Tensor:
        embeds = prompt.parts[0].positive.image_embeds
        positive, negative = (conditioning(projection(one)) for one in (embeds, torch.zeros_like(embeds)))
        return sample(base, Task(positive, negative, seeds=extent.seeds))

    return Trained(draw)


def trained(design: Design, path: Path, base: str = WIDE) -> Trained:
    """A design's trained weights at work on a base model."""
    make = {SIMPLE.name: simple, WHOLE_MODEL.name: whole}.get(design.name, decoupled)
    return make(path, files.load_model(base))


def measure(table: Table, condition: str, design: Trained, extent: Extent, show: str | None = None) -> None:
    """Pictures after every reference, and how near they are."""
    for group, scene in enumerate(wide_references(extent)):
        made = design.draw(studio.prompt(scene), extent)
        add_nearness(table, condition, made, scene, group)
        if show:
            table.show(label_of(group, scene), show, made[0])


def label_of(group: int, scene: Scene) -> str:
    """A reference's name on a sheet."""
    return f"{group + 1}: {scene.style} {scene.colour} {scene.shape}"


def measure_limits(table: Table, extent: Extent) -> None:
    """What other references would get, what the base draws of itself, and what the references themselves get once the
    autoencoder has had them."""
    scenes = wide_references(WHOLE)
    for group, scene in enumerate(scenes[: extent.references]):
        table.show(label_of(group, scene), "reference", picture_of(scene)[0])
        others = [scenes[(group + step) % len(scenes)] for step in range(1, extent.seeds + 1)]
        add_nearness(table, ANOTHER, torch.cat([picture_of(other) for other in others]), scene, group)
        add_nearness(table, UNTOLD, untold(group, extent), scene, group)
        again = studio.vae().decode(studio.latent_of(scene)).clamp(0, 1)
        add_nearness(table, SAME, again.expand(extent.seeds, -1, -1, -1), scene, group)


def untold(group: int, extent: Extent) -> Tensor:
    """Pictures of the wide base that is told nothing, others for every reference."""
    first = group * WHOLE.seeds
    return sample(studio.model(WIDE), Task(studio.text(""), studio.text(""), seeds=extent.seeds, first_seed=first))


def add_nearness(table: Table, condition: str, pictures: Tensor, scene: Scene, group: int) -> None:
    """How near pictures (S, 64, 64, 3) are to a reference, by every measure."""
    reference = read(as_array(picture_of(scene))[0])
    rows = [nearness(read(picture), reference) for picture in as_array(pictures)]
    for number, name in enumerate((*DISTANCES, *SHARES)):
        table.add(condition, name, [row[number] for row in rows], group)
    table.add(condition, "CLIP-I", clip_i(pictures, picture_of(scene)), group)
    seen = [float(read(picture).companion_colour is not None) for picture in as_array(pictures)]
    table.add(condition, SEEN, seen, group)


def as_array(pictures: Tensor) -> np.ndarray:
    """Pictures as numbers."""
    return pictures.detach().float().numpy()


def apart(seen: Point | None, wanted: Point | None) -> float:
    """How far a companion is from where it is wanted; one that is not seen, as far as a random one on the average."""
    if seen is None or wanted is None:
        return by_chance(seen or wanted or MIDDLE)
    return math.dist(seen, wanted)


def by_chance(place: Point) -> float:
    """The mean distance in pixels from a place to all places where a companion may stand."""
    room = np.arange(MARGIN + DISC, SIDE - MARGIN - DISC)
    x, y = np.meshgrid(room - place[0], room - place[1])
    return float(np.hypot(x, y).mean())


def nearness(seen: Seen, wanted: Seen) -> tuple[float, ...]:
    """DISTANCES and SHARES of one picture."""
    return (
        math.dist(seen.place, wanted.place),
        abs(seen.size - wanted.size),
        apart(seen.companion, wanted.companion),
        float(seen.companion_colour == wanted.companion_colour),
        float(seen.shape == wanted.shape),
        float(seen.colour == wanted.colour),
        float(seen.background == wanted.background),
    )
