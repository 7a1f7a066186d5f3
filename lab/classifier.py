"""A small network that tells what a picture of the world shows; trained on the data set alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from . import store
from .world import ATTRIBUTES, DOMAINS, Scene

HEADS = {**ATTRIBUTES, "domain": DOMAINS}


@dataclass(frozen=True)
class Reading:
    """What the classifier saw in a picture."""

    shape: str
    colour: str
    style: str
    background: str
    domain: str


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Half the size, more channels."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
    )


class Classifier(nn.Module):
    """Pictures (N, 64, 64, 3) from 0 to 1 to scores (N, values) of each attribute."""

    def __init__(self, channels: Sequence[int] = (32, 48, 64, 64)) -> None:
        super().__init__()
        self.body = nn.Sequential(*(block(i, o) for i, o in zip((3, *channels), channels, strict=False)), nn.Flatten())
        self.heads = nn.ModuleDict({key: nn.Linear(channels[-1] * 16, len(names)) for key, names in HEADS.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.body(images.movedim(-1, 1) * 2 - 1)  # (N, channels · 4 · 4)
        return {key: head(features) for key, head in self.heads.items()}

    @torch.no_grad()
    def read(self, images: Tensor) -> list[Reading]:
        """What each picture shows."""
        best = {key: scores.argmax(1).tolist() for key, scores in self(images.float()).items()}
        rows = zip(*(best[field.name] for field in fields(Reading)), strict=True)
        return [Reading(*(names[i] for names, i in zip(HEADS.values(), row, strict=True))) for row in rows]


def load_classifier() -> Classifier:
    """The trained one."""
    classifier = Classifier()
    classifier.load_state_dict(store.load("classifier"))
    return classifier.eval().requires_grad_(False)


def agreement(scenes: Sequence[Scene], readings: Sequence[Reading], attribute: str) -> float:
    """The share of pictures whose attribute was read as it is in the scene."""
    same = [getattr(s, attribute) == getattr(r, attribute) for s, r in zip(scenes, readings, strict=True)]
    return sum(same) / len(same)
