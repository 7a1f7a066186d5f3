"""Reading a record of attention maps: some layers, some steps, one image prompt or all, as one map a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..backbones.known import BACKBONES
from ..errors import IPAdapterError
from ..images.masks import Size
from .maps import AttentionMaps, AttentionRecord

ALL = "all"
LAYER_GROUPS = (ALL, *dict.fromkeys(name for known in BACKBONES for name in (*known.parts, *known.levels)))
LAST = 10000  # a step that stands for the last one
SAME_SHAPE = 0.02  # by how much the sides' ratios of a picture and its latents may differ, which round


@dataclass(frozen=True)
class MapChoice:
    """What of a record is meant: layers by a name of `GROUPS`, steps from `start` to `end` with both, and the image
    prompt's number, 0 for all together."""

    layers: str = ALL
    start: int = 0
    end: int = LAST
    prompt: int = 0


def maps_of(record: AttentionRecord) -> AttentionMaps:
    """What is in a record. Raises IPAdapterError where nothing is."""
    if record.maps is None:
        raise IPAdapterError(
            "record is empty: sample first, with the model that Record Image Prompt Attention gives, and connect "
            "the picture that comes of it to image."
        )
    return record.maps


def select(maps: AttentionMaps, choice: MapChoice) -> Tensor:
    """The mean share over the chosen layers and steps, (B, h, w): every layer and every step counts alike.

    Raises IPAdapterError where the model has no such layers, the run no such steps or image prompt.
    """
    levels, steps = levels_named(maps, choice.layers), steps_between(maps, choice.start, choice.end)
    refuse_prompt(maps, choice.prompt)
    means = [level_mean(maps, level, steps, choice.prompt) for level in levels]
    size = max(mean.shape[1] for mean in means), max(mean.shape[2] for mean in means)
    weights = [maps.subject.layers[level] for level in levels]
    total = sum(weight * resize(mean, size) for weight, mean in zip(weights, means, strict=True))
    assert isinstance(total, Tensor)
    return total / sum(weights)


def level_mean(maps: AttentionMaps, level: str, steps: range, prompt: int) -> Tensor:
    """One level's mean over steps, (B, h, w); a step without a map counts as 0."""
    found = [maps.shares[level, step][prompt] for step in steps if (level, step) in maps.shares]
    if not found:
        return torch.zeros(maps.subject.pictures, 1, 1)
    return torch.stack(found).sum(0) / len(steps)


def levels_named(maps: AttentionMaps, layers: str) -> list[str]:
    """The levels of a group. Raises IPAdapterError where the model has none of it."""
    found = [level for level in maps.levels if layers in (ALL, level, level.split()[0])]
    if not found:
        raise IPAdapterError(
            f"layers is '{layers}', but the recorded model has {', '.join(maps.levels)}: choose one of these."
        )
    return found


def steps_between(maps: AttentionMaps, start: int, end: int) -> range:
    """Steps from start to end, with both; an end past the last step is the last. Raises IPAdapterError for none."""
    if end < start:
        raise IPAdapterError(
            f"end_step ({end}) is before start_step ({start}), so no step would be read: give a range such as 0 to "
            f"{LAST}."
        )
    if start >= maps.steps:
        raise IPAdapterError(
            f"start_step is {start}, but the recorded run had {maps.steps} step(s): choose 0 to {maps.steps - 1}."
        )
    return range(start, min(end, maps.steps - 1) + 1)


def refuse_prompt(maps: AttentionMaps, prompt: int) -> None:
    """Refuse the number of an image prompt that was not there."""
    prompts = maps.prompts
    if not 0 <= prompt <= prompts:
        raise IPAdapterError(
            f"prompt is {prompt}, but the recorded model has {prompts} image prompt(s): choose 0 for all together, or "
            f"1 to {prompts}."
        )


def resize(maps: Tensor, size: Size) -> Tensor:
    """(B, h, w) to (B, H, W), smoothly, and never below or above what a picture's map has."""
    if tuple(maps.shape[1:]) == size:
        return maps
    low, high = (end(maps, dim=(1, 2), keepdim=True) for end in (torch.amin, torch.amax))
    return interpolate(maps.unsqueeze(1), size=size, mode="bicubic", antialias=True).squeeze(1).clamp(low, high)


def refuse_other_pictures(maps: AttentionMaps, pictures: int, size: Size) -> None:
    """Refuse pictures that cannot be those of the run: another number, or another shape."""
    subject = maps.subject
    if pictures != subject.pictures:
        raise IPAdapterError(
            f"image has {pictures} picture(s), but the recorded run sampled {subject.pictures}: connect the pictures "
            "of that run, all of them."
        )
    if abs((size[1] / size[0]) * (subject.latent[0] / subject.latent[1]) - 1) > SAME_SHAPE:
        raise IPAdapterError(
            f"image is {size[1]} × {size[0]}, but the recorded run sampled latents of {subject.latent[1]} × "
            f"{subject.latent[0]}: connect the picture of that run, not cropped; its size may differ."
        )


def describe(maps: AttentionMaps, choice: MapChoice) -> str:
    """The chosen mean and highest share, and the mean of each group of layers in the same steps."""
    chosen, steps = select(maps, choice), steps_between(maps, choice.start, choice.end)
    head = f"{prompt_name(maps, choice.prompt)}, layers {choice.layers}, {step_names(steps)} of {maps.steps}"
    lines = [head, f"mean share {chosen.mean():.3f}, highest {chosen.max():.3f}"]
    if maps.subject.pictures > 1:
        lines.append("by picture: " + ", ".join(f"{mean:.3f}" for mean in chosen.mean(dim=(1, 2)).tolist()))
    means = {level: float(level_mean(maps, level, steps, choice.prompt).mean()) for level in maps.levels}
    return "\n".join([*lines, "", *(f"{level}: {mean:.3f}" for level, mean in means.items())])


def prompt_name(maps: AttentionMaps, prompt: int) -> str:
    """In words."""
    if maps.prompts == 1:
        return "image prompt"
    return f"image prompt {prompt} of {maps.prompts}" if prompt else f"all {maps.prompts} image prompts"


def step_names(steps: range) -> str:
    """In words."""
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
