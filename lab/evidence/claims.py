"""The paper's claims, one function each: what is generated and what is counted.

Every function returns rows: a condition, a measure, and one number for each picture with the reference it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ipadapter.host.sampling.patching import apply_image_prompt
from ipadapter.strength.strength import Strength

from ..world import ATTRIBUTES, BACKGROUNDS, SIDE, Scene, edges, held_out_scenes
from . import studio
from .simple import simple_conditioning
from .studio import Conditioning, Task, agreement, clip_i, following, picture_of, sample, text

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
BASE, PLUS = "ip-adapter", "ip-adapter-plus"
ALL = tuple(ATTRIBUTES)
APPEARANCE = ("colour", "style", "background")


@dataclass(frozen=True)
class Extent:
    """How much of a claim is measured: held-out references, and pictures of each under each condition."""

    references: int = 32
    seeds: int = 4


WHOLE = Extent()


@dataclass
class Row:
    """One measure under one condition. `groups` names the reference of each value."""

    condition: str
    measure: str
    values: list[float] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    chance: float | None = None


@dataclass
class Table:
    """Rows of a claim, and a few pictures to look at: (row label, column label) to (64, 64, 3)."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    pictures: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def add(self, condition: str, measure: str, values: list[float], group: int, chance: float | None = None) -> None:
        """Values of one reference."""
        row = self.rows.setdefault((condition, measure), Row(condition, measure, chance=chance))
        row.values += values
        row.groups += [group] * len(values)

    def add_agreement(self, condition: str, pictures: Tensor, scene: Scene, names: tuple[str, ...], group: int) -> None:
        """Whether attributes are a scene's."""
        for name, values in agreement(pictures, studio.values_of(scene, names)).items():
            self.add(condition, name, values, group, 1 / len(ATTRIBUTES[name]))

    def show(self, row: str, column: str, picture: Tensor, limit: int = 4) -> None:
        """Keep a picture for the page, of the first few rows."""
        if row in {r for r, _ in self.pictures} or len({r for r, _ in self.pictures}) < limit:
            self.pictures[(row, column)] = picture


def references(count: int, seed: int = 100) -> Iterator[tuple[int, str, Scene]]:
    """Held-out scenes with a number and a label."""
    for index, scene in enumerate(held_out_scenes(count, seed)):
        yield index, f"{index + 1}: {scene.style} {scene.colour} {scene.shape}", scene


def plain(words: str = "") -> tuple[Conditioning, Conditioning]:
    """A text and the empty text."""
    return text(words), text("")


def draw(model: Any, extent: Extent, words: str = "", **settings: Any) -> Tensor:
    """Pictures of a model under a text."""
    return sample(model, Task(*plain(words), seeds=extent.seeds, **settings))


def follows(extent: Extent) -> Table:
    """Claim 1: the image prompt is followed, the more the larger λ is."""
    table = Table()
    for group, label, scene in references(extent.references):
        table.show(label, "reference", picture_of(scene)[0])
        for weight in WEIGHTS:
            made = draw(following(studio.model(), scene, BASE, weight), extent)
            condition = f"λ = {weight:g}"
            table.add_agreement(condition, made, scene, ALL, group)
            table.add(condition, "CLIP-I", clip_i(made, picture_of(scene)), group)
            table.show(label, condition, made[0])
    return table


def designs(extent: Extent) -> Table:
    """Claim 2: decoupled attention against tokens beside the text's; 16 tokens against 4; equal steps."""
    table = Table()
    for group, label, scene in references(extent.references):
        prompt = studio.prompt(scene)
        table.show(label, "reference", picture_of(scene)[0])
        made = {
            "simple, 4 tokens": sample(studio.model(), Task(*simple_conditioning(prompt), seeds=extent.seeds)),
            "decoupled, 4 tokens": draw(following(studio.model(), prompt, BASE), extent),
            "decoupled, 16 tokens": draw(following(studio.model(), prompt, PLUS), extent),
        }
        for condition, pictures in made.items():
            add_fidelity(table, condition, pictures, scene, group)
            table.show(label, condition, pictures[0])
    return table


def add_fidelity(table: Table, condition: str, pictures: Tensor, scene: Scene, group: int) -> None:
    """How near to the reference: its attributes, their mean, CLIP-I, and the distance of its place and its pixels."""
    table.add_agreement(condition, pictures, scene, ALL, group)
    found = agreement(pictures, studio.values_of(scene, ALL))
    table.add(condition, "all attributes", torch.tensor(list(found.values())).mean(0).tolist(), group)
    reference = picture_of(scene)
    table.add(condition, "CLIP-I", clip_i(pictures, reference), group)
    table.add(condition, "pixel difference", (pictures - reference).abs().mean((1, 2, 3)).tolist(), group)


def nothing_at_zero(extent: Extent) -> Table:
    """Claim 3: λ = 0 is the base model."""
    table = Table()
    for group, _, scene in references(extent.references):
        for name in (BASE, PLUS):
            applied = apply_image_prompt(studio.model(), studio.adapter(name), studio.prompt(scene), Strength(0.0))
            difference = (draw(applied, extent) - draw(studio.model(), extent)).abs().amax((1, 2, 3))
            table.add(name, "largest difference of a pixel", difference.tolist(), group)
    return table


def another_base(extent: Extent) -> Table:
    """Claim 4: the adapter works, as it is, on a fine-tuned base."""
    table = Table()
    for group, label, scene in references(extent.references):
        table.show(label, "reference", picture_of(scene)[0])
        for weight in (0.0, 1.0):
            made = draw(following(studio.model("fine-tuned"), scene, BASE, weight), extent)
            condition = f"fine-tuned, λ = {weight:g}"
            table.add_agreement(condition, made, scene, ALL, group)
            night = [float(reading.domain == "night") for reading in studio.seen(made)]
            table.add(condition, "night, as the fine-tuned base draws", night, group, 0.5)
            table.show(label, condition, made[0])
    return table


def structure(extent: Extent) -> Table:
    """Claim 5: structure from a ControlNet, appearance from the image prompt."""
    table = Table()
    guides = held_out_scenes(2 * extent.references, 300)
    for group, label, scene in references(extent.references):
        guide = next(g for g in guides[group:] if g.shape != scene.shape)
        table.show(label, "image prompt", picture_of(scene)[0])
        table.show(label, "structure", torch.from_numpy(edges(guide).copy()).float() / 255)
        controlled = with_control(guide)
        for condition, model in {
            "structure alone": studio.model(),
            "both": following(studio.model(), scene, BASE),
        }.items():
            made = sample(model, Task(*controlled, seeds=extent.seeds))
            table.add(
                condition, "shape is the structure's", agreement(made, {"shape": guide.shape})["shape"], group, 1 / 6
            )
            table.add_agreement(condition, made, scene, APPEARANCE, group)
            table.add(condition, "distance of its place from the structure's, pixels", away(made, guide), group)
            table.show(label, condition, made[0])
    return table


def with_control(scene: Scene) -> tuple[Conditioning, Conditioning]:
    """The empty text with a scene's edges, as the host's Apply ControlNet gives it."""
    hint = torch.from_numpy(edges(scene).copy()).float().div(255).movedim(-1, 0).unsqueeze(0)
    control = studio.control_net().copy().set_cond_hint(hint, 1.0, (0.0, 1.0))
    control.set_previous_controlnet(None)
    return tuple([[t, {**o, "control": control, "control_apply_to_uncond": False}] for t, o in text("")] for _ in "+-")  # type: ignore[return-value]


def away(pictures: Tensor, scene: Scene) -> list[float]:
    """Distance in pixels of each picture's shape from where a scene has its own."""
    return (studio.centres(pictures) - studio.centres(picture_of(scene))).norm(dim=1).tolist()


def text_too(extent: Extent) -> Table:
    """Claim 6: text decides what the image leaves open, here the background of a reference cut out by its mask."""
    table = Table()
    for group, label, scene in references(extent.references):
        names = [name for name in BACKGROUNDS if name != scene.background]
        wanted = replace(scene, background=names[group % len(names)])
        words = f"a shape on a {wanted.background} background"
        table.show(label, "reference", picture_of(scene)[0])
        cut_out = studio.prompt(scene, shape_mask(scene))
        for condition, model in {
            "text alone": studio.model(),
            "whole reference, λ = 1": following(studio.model(), scene, BASE, 1.0),
            "whole reference, λ = 0.5": following(studio.model(), scene, BASE, 0.5),
            "cut-out reference, λ = 1": following(studio.model(), cut_out, BASE, 1.0),
        }.items():
            made = draw(model, extent, words)
            told = agreement(made, {"background": wanted.background})["background"]
            table.add(condition, "background is the text's", told, group, 1 / len(BACKGROUNDS))
            table.add_agreement(condition, made, scene, ("shape", "colour", "style"), group)
            table.show(label, condition, made[0])
    return table


def shape_mask(scene: Scene) -> Tensor:
    """White around the shape, (1, 64, 64)."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    reach = scene.size * 1.15
    inside = ((x - SIDE / 2 - scene.x) ** 2 + (y - SIDE / 2 - scene.y) ** 2) <= reach**2
    return inside.float().unsqueeze(0)


def from_a_picture(extent: Extent) -> Table:
    """Claim 7: image to image, and inpainting, with an image prompt."""
    table = Table()
    sources = held_out_scenes(extent.references, 500)
    for group, label, scene in references(extent.references):
        source = sources[group]
        table.show(label, "source", picture_of(source)[0])
        table.show(label, "image prompt", picture_of(scene)[0])
        for condition, model in {"λ = 0": studio.model(), "λ = 1": following(studio.model(), scene, BASE)}.items():
            made = draw(model, extent, latent=studio.latent_of(source), denoise=0.75)
            table.add_agreement(f"image to image, {condition}", made, scene, ALL, group)
            distance = away(made, source)
            table.add(
                f"image to image, {condition}", "distance of its place from the source's, pixels", distance, group
            )
            table.show(label, f"image to image, {condition}", made[0])
            inpaint(table, f"inpainting, {condition}", model, extent, source, scene, group, label)
    return table


def inpaint(
    table: Table, condition: str, model: Any, extent: Extent, source: Scene, scene: Scene, group: int, label: str
) -> None:
    """The middle of the source drawn anew; its rim is compared with the source through the autoencoder."""
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 8:56, 8:56] = 1
    made = draw(model, extent, latent=studio.latent_of(source), mask=mask)
    table.add_agreement(condition, made, scene, ("shape", "colour", "style"), group)
    kept = studio.vae().decode(studio.latent_of(source)).clamp(0, 1)
    rim = torch.cat([(made - kept)[:, :4].flatten(1), (made - kept)[:, -4:].flatten(1)], dim=1)
    table.add(condition, "pixel difference outside the mask", rim.abs().mean(1).tolist(), group)
    table.show(label, condition, made[0])


CLAIMS: dict[str, Callable[[Extent], Table]] = {
    "follows": follows,
    "designs": designs,
    "nothing_at_zero": nothing_at_zero,
    "another_base": another_base,
    "structure": structure,
    "text_too": text_too,
    "from_a_picture": from_a_picture,
}
