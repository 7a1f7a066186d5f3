"""The paper's claims, one function each: what is generated and what is counted.

Every function returns rows: a condition, a measure, and one number for each picture with the reference it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ipadapter.host.sampling.patching import apply_image_prompt
from ipadapter.strength.strength import Strength

from .. import store
from ..designs import DESIGNS, FOUR, SIXTEEN, WHOLE_MODEL, WIDE
from ..world import ATTRIBUTES, BACKGROUNDS, SIDE, Scene, caption, edges, held_out_scenes, undo_night
from . import studio
from .runs import condition_of, kept_rows
from .studio import Conditioning, Task, agreement, clip_i, clip_t, following, picture_of, sample, text
from .tables import WHOLE, Extent, Table
from .wide import BY_NIGHT, Trained, measure, measure_limits, trained

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
FAR_WEIGHTS = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5)  # over which an image drives out what a text says
BASE, PLUS = "ip-adapter", SIXTEEN.name
ALL = tuple(ATTRIBUTES)
APPEARANCE = ("colour", "style", "background")


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
    """Claim 2: decoupled attention against tokens beside the text's; 16 tokens against 4; in the wider world.

    The first run of each is drawn with now; what the others drew was read when they were trained.
    """
    table = Table()
    measure_limits(table, extent)
    for design in DESIGNS:
        measure(table, condition_of(design, 1), trained(design, store.path_of(design.name)), extent, design.title)
        table.take(row for row in kept_rows(design, extent) if row.condition != condition_of(design, 1))
    return table


def whole_model(extent: Extent) -> Table:
    """Claim 3: the adapter against the whole model fine-tuned on image embeddings, and what either does by night."""
    table = Table()
    measure_limits(table, extent)
    four = store.path_of(FOUR.name)
    measure(table, FOUR.title, trained(FOUR, four), extent, FOUR.title)
    table.take(replace(row, condition=WHOLE_MODEL.title) for row in kept_rows(WHOLE_MODEL, extent))
    measure(table, BY_NIGHT, by_night(trained(FOUR, four, "fine-tuned")), extent, BY_NIGHT)
    return table


def by_night(drawn: Trained) -> Trained:
    """The same with the night taken off the pictures before they are read, so that they can be compared by day."""
    return Trained(lambda prompt, extent: by_day(drawn.draw(prompt, extent)))


def by_day(pictures: Tensor) -> Tensor:
    """`at_night` undone, (N, 64, 64, 3) in 0 … 1."""
    return torch.from_numpy(undo_night(pictures.numpy())).float()


def tradeoff(extent: Extent) -> Table:
    """Claim 4: CLIP-I with an image against CLIP-T with a text that tells of something else, over λ."""
    table = Table()
    others = held_out_scenes(2 * WHOLE.references, 900)
    for group, label, scene in references(extent.references):
        other = next(one for one in others[group:] if differs(one, scene))
        words = caption(other)
        table.show(label, "image prompt", picture_of(scene)[0])
        table.show(label, "what the text tells", picture_of(other)[0])
        for weight in FAR_WEIGHTS:
            made = draw(following(studio.model(), scene, BASE, weight), extent, words)
            condition = f"λ = {weight:g}"
            table.add(condition, "CLIP-I", clip_i(made, picture_of(scene)), group)
            table.add(condition, "CLIP-T", clip_t(made, words), group)
            table.show(label, condition, made[0])
    return table


def differs(one: Scene, other: Scene) -> bool:
    """Whether two scenes have nothing in common that words tell."""
    return all(getattr(one, name) != getattr(other, name) for name in ALL)


def nothing_at_zero(extent: Extent) -> Table:
    """Claim 5: λ = 0 is the base model."""
    table = Table()
    for group, _, scene in references(extent.references):
        for name, base in ((BASE, studio.model()), (PLUS, studio.model(WIDE))):
            applied = apply_image_prompt(base, studio.adapter(name), studio.prompt(scene), Strength(0.0))
            difference = (draw(applied, extent) - draw(base, extent)).abs().amax((1, 2, 3))
            table.add(name, "largest difference of a pixel", difference.tolist(), group)
    return table


def another_base(extent: Extent) -> Table:
    """Claim 6: the adapter works, as it is, on a fine-tuned base."""
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
    """Claim 7: structure from a ControlNet, appearance from the image prompt."""
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
    """Claim 8: text decides what the image leaves open, here the background of a reference cut out by its mask."""
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
    """Claim 9: image to image, and inpainting, with an image prompt."""
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
    "whole_model": whole_model,
    "tradeoff": tradeoff,
    "nothing_at_zero": nothing_at_zero,
    "another_base": another_base,
    "structure": structure,
    "text_too": text_too,
    "from_a_picture": from_a_picture,
}
