"""Where in the picture an image prompt acted, gathered while a model samples.

At a layer, a call and a position its share of the attention's output is ‖Z_img‖ / (‖Z_text‖ + ‖Z_img‖), norms over the
channels, of the image branch's output (λ and mask included) and the text attention's own: 0 where it adds nothing, 0.5
where both are equally large.

A map is held for each level of the UNet, step, picture and image prompt, and one for all image prompts together, in
float32 and at most 64 × 64 positions large. With the counts of a run that is going on that is at most 7 levels ·
(prompts + 2) · 16 KiB = 336 KiB a step and picture for one image prompt; SD1.5 at 512 × 512 takes 130 KiB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..backbones.backbone import Place
from ..images.masks import Size

LARGEST = 64  # positions along a map's side
KEPT = 32  # footprints at a time; a run with context windows meets new ones with each window
TOGETHER = 0  # the number of all image prompts together; the single ones are 1, 2, …


def share(text: Tensor, image: Tensor) -> Tensor:
    """Two norms to the second's share of their sum; 0 where both are 0."""
    return image / (text + image).clamp_min(torch.finfo(torch.float32).tiny)


def norm(output: Tensor) -> Tensor:
    """(b, L, C) to (b, L) in float32."""
    out: Tensor = torch.linalg.vector_norm(output.detach(), dim=-1, dtype=torch.float32)
    return out


def shares_of(text: Tensor, images: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """The share of each image prompt by its number, and of all together: outputs (b, L, C) to (b, L)."""
    if not images:
        return {}
    said = norm(text)
    single = {number: share(said, norm(image)) for number, image in images.items()}
    together = next(iter(single.values())) if len(images) == 1 else share(said, norm(sum_of([*images.values()])))
    return {TOGETHER: together, **single}


def sum_of(outputs: Sequence[Tensor]) -> Tensor:
    """What several branches add together."""
    return torch.stack([output.float() for output in outputs]).sum(0)


@dataclass(frozen=True)
class Sight:
    """What a conditioning's rows of a call show: which pictures of the run, and which latent rows and columns."""

    pictures: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Footprint:
    """Where activations (b, h, w) of a call fall on maps of whole pictures (B, h', w')."""

    index: Tensor  # (b · h · w,) into the flattened maps
    count: Tensor  # (B · h' · w',) how many fall there


def map_size(sight: Sight, activations: Size, latent: Size) -> Size:
    """Height and width of the maps that a level's activations are gathered in, at most 64 each."""
    whole = [
        math.ceil(total / downscale(len(seen), side))
        for total, seen, side in zip(latent, (sight.rows, sight.columns), activations, strict=True)
    ]
    shrink = math.ceil(max(whole) / LARGEST)
    return math.ceil(whole[0] / shrink), math.ceil(whole[1] / shrink)


def downscale(seen: int, side: int) -> int:
    """How many latent pixels an activation stands for: a power of two, which a level's side rounds up from."""
    return 1 << max(0, math.ceil(math.log2(seen / side) - 1e-6))


def footprint(
    sight: Sight, activations: Size, latent: Size, maps: tuple[int, int, int], device: torch.device
) -> Footprint:
    """Place a call's activations (h, w) on maps (B, h', w')."""
    rows = torch.tensor(positions(sight.rows, activations[0], latent[0], maps[1]))
    columns = torch.tensor(positions(sight.columns, activations[1], latent[1], maps[2]))
    pictures = torch.tensor(sight.pictures)[:, None, None]
    index = ((pictures * maps[1] + rows[:, None]) * maps[2] + columns).flatten()  # (b, h, w) to (b · h · w,)
    count = torch.zeros(math.prod(maps)).index_add_(0, index, torch.ones(len(index)))
    return Footprint(index.to(device), count.to(device))


def positions(seen: Sequence[int], side: int, whole: int, mapped: int) -> list[int]:
    """Where the middle of each activation along a side falls on a map's side. `seen` of `whole` latent pixels it is."""
    middles = [seen[(2 * at + 1) * len(seen) // (2 * side)] for at in range(side)]
    return [(2 * middle + 1) * mapped // (2 * whole) for middle in middles]


class Tally:
    """Running sums of one level and step, on the device that samples."""

    def __init__(self, like: Tensor) -> None:
        self.met = torch.zeros_like(like)  # (B · h · w,) how often each position was met
        self.sums: dict[int, Tensor] = {}  # by the prompt's number

    def add(self, at: Footprint, shares: Mapping[int, Tensor]) -> None:
        """One layer's shares in one call, (b, L) each. A prompt that does not act there adds nothing to its sum."""
        self.met += at.count
        for number, values in shares.items():
            if number not in self.sums:
                self.sums[number] = torch.zeros_like(self.met)
            self.sums[number].index_add_(0, at.index, values.flatten())

    def means(self, prompts: int) -> Tensor:
        """(1 + prompts, B · h · w) on the CPU."""
        nothing = torch.zeros_like(self.met)
        sums = torch.stack([self.sums.get(number, nothing) for number in range(prompts + 1)])
        return (sums / self.met.clamp_min(1)).cpu()


@dataclass(frozen=True)
class Subject:
    """What is sampled: how many pictures, their latent size, and by what layers, counted by level."""

    pictures: int
    latent: Size
    layers: Mapping[str, int]


@dataclass
class Gathering:
    """The maps of a run that is going on, and how many image prompts it has."""

    subject: Subject
    prompts: int = 0
    sizes: dict[str, Size] = field(default_factory=dict)
    places: dict[str, set[Place]] = field(default_factory=dict)
    tallies: dict[tuple[str, int], Tally] = field(default_factory=dict)
    footprints: dict[tuple[str, Sight, Size, torch.device], Footprint] = field(default_factory=dict)

    def at(self, level: str, sight: Sight, activations: Size, device: torch.device) -> Footprint:
        """Where a level's activations fall, worked out once a run for each that differs."""
        key = (level, sight, activations, device)
        if key not in self.footprints:
            if len(self.footprints) >= KEPT:
                del self.footprints[next(iter(self.footprints))]
            size = self.sizes.setdefault(level, map_size(sight, activations, self.subject.latent))
            maps = (self.subject.pictures, *size)
            self.footprints[key] = footprint(sight, activations, self.subject.latent, maps, device)
        return self.footprints[key]

    def add(self, place: Place, level: str, step: int, at: Footprint, shares: Mapping[int, Tensor]) -> None:
        """Shares of one layer in one call."""
        self.places.setdefault(level, set()).add(place)
        if (level, step) not in self.tallies:
            self.tallies[level, step] = Tally(at.count)
        self.tallies[level, step].add(at, shares)

    def finish(self) -> AttentionMaps | None:
        """The maps, on the CPU; None where the model has not been called."""
        if not self.tallies:
            return None
        shares = {key: self.whole(key[0], tally) for key, tally in self.tallies.items()}
        return AttentionMaps(self.subject, self.prompts, 1 + max(step for _, step in shares), shares)

    def whole(self, level: str, tally: Tally) -> Tensor:
        """Means over all layers of a level, (1 + prompts, B, h, w): one in which no prompt acts counts as 0."""
        acting = len(self.places[level]) / self.subject.layers[level]
        means = tally.means(self.prompts) * acting
        return means.reshape(-1, self.subject.pictures, *self.sizes[level])


@dataclass(frozen=True)
class AttentionMaps:
    """What a run left: the mean share by level and step, (1 + prompts, B, h, w), all together first."""

    subject: Subject
    prompts: int
    steps: int
    shares: Mapping[tuple[str, int], Tensor]

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """The model's, in the order in which they run."""
        return tuple(self.subject.layers)


class AttentionRecord:
    """The `IMAGE_PROMPT_RECORD` socket: what the last run of a recorded model left, None before the first."""

    def __init__(self) -> None:
        self.maps: AttentionMaps | None = None
