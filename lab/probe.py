"""How much of what captions leave open can be read off what each design is given: what there is to carry.

    python -m lab.probe

A linear map from the encoder's frozen features to places, sizes and colours, fitted on the scenes that the designs
learn from and asked about held-out ones. Prints a table and keeps its numbers in the report.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ipadapter.evaluation.statistics import Estimate, bootstrap_mean

from .host import start_host
from .wide import held_out_wide, train_wide
from .world import COLOURS, Scene

SCENES, ASKED = 4000, 1000  # to fit on, the designs' own; to ask about
STRENGTHS = tuple(10.0**power for power in range(5))  # of the ridge; one is chosen on every fifth scene to fit on
EMBEDDING, PATCHES = "image embedding (4 tokens)", "penultimate patches (16 tokens)"
PLACES = {"place": slice(0, 2), "size": slice(2, 3), "companion's place": slice(3, 5)}
COLOUR = "companion's colour"

Told = dict[str, Estimate]  # R² of places and sizes, and how often the companion's colour is right
Kept = dict[str, dict[str, tuple[float, float | None, float | None]]]  # by feature, as the report has it


def wanted(scenes: list[Scene]) -> Tensor:
    """PLACES' columns and one for every colour of the companion, (N, 5 + C)."""
    places = torch.tensor([[s.x, s.y, s.size, s.companion.x, s.companion.y] for s in scenes])  # type: ignore[union-attr]
    return torch.cat([places.double(), torch.nn.functional.one_hot(colours_of(scenes), len(COLOURS))], dim=1)


def colours_of(scenes: list[Scene]) -> Tensor:
    """The number of each companion's colour."""
    return torch.tensor([list(COLOURS).index(scene.companion.colour) for scene in scenes])  # type: ignore[union-attr]


def features_of(scenes: list[Scene]) -> dict[str, Tensor]:
    """What designs are given, a row a scene."""
    from .adapting import encode_pictures
    from .training import pictures_of

    encoded, _ = encode_pictures(pictures_of(scenes).float().div(255))
    return {EMBEDDING: encoded.image_embeds.double(), PATCHES: encoded.penultimate.flatten(1).double()}  # type: ignore[union-attr]


def ridge(features: Tensor, targets: Tensor, asked: Tensor, strength: float) -> Tensor:
    """What a linear map fitted to rows of features and targets says of other rows."""
    middle, spread, mean = features.mean(0), features.std(0) + 1e-6, targets.mean(0)
    rows, others = (features - middle) / spread, (asked - middle) / spread
    gram = rows @ rows.T + strength * torch.eye(len(rows), dtype=rows.dtype)
    return others @ (rows.T @ torch.cholesky_solve(targets - mean, torch.linalg.cholesky(gram))) + mean


def best_strength(features: Tensor, targets: Tensor) -> float:
    """The strength that errs least on every fifth row when fitted to the others; all targets count by their spread."""
    aside = torch.arange(len(features)) % 5 == 0
    spread = targets.std(0)

    def error(strength: float) -> float:
        said = ridge(features[~aside], targets[~aside], features[aside], strength)
        return float(((said - targets[aside]) / spread).square().mean())

    return min(STRENGTHS, key=error)


def known(fitted: tuple[Tensor, list[Scene]], asked: tuple[Tensor, list[Scene]]) -> Told:
    """How much of scenes a map from their features tells, fitted to others."""
    (features, scenes), (others, new) = fitted, asked
    said = ridge(features, wanted(scenes), others, best_strength(features, wanted(scenes)))
    told = {name: explained(said[:, part], wanted(new)[:, part]) for name, part in PLACES.items()}
    right = said[:, 5:].argmax(1) == colours_of(new)
    return told | {COLOUR: bootstrap_mean(right.double().tolist(), range(len(new)))}


def explained(said: Tensor, true: Tensor) -> Estimate:
    """R²: the share of the variance of (N, D) that is told, with its interval over the rows."""
    errors, variance = (said - true).square().sum(1), (true - true.mean(0)).square().sum(1).mean()
    return bootstrap_mean((1 - errors / variance).tolist(), range(len(true)))


@torch.no_grad()
def probe(scenes: list[Scene], asked: list[Scene]) -> dict[str, Told]:
    """Every feature, fitted to scenes and asked about others."""
    given, shown = features_of(scenes), features_of(asked)
    return {name: known((given[name], scenes), (shown[name], asked)) for name in given}


def probe_lines(found: Kept) -> Iterator[str]:
    """The table, of what the report keeps: a mean, its lower and its upper end."""
    heads = [*(f"{name}, R²" for name in PLACES), f"{COLOUR}, right"]
    asked = (*PLACES, COLOUR)
    yield f"| | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    for feature, told in found.items():
        cells = [f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high in (told[name] for name in asked)]
        yield f"| {feature} | {' | '.join(cells)} |"


def left_over(share: float) -> float:
    """How far apart two things of which so much of the variance is known are, of what two unknown ones are."""
    return math.sqrt(max(0.0, 1 - share))


def main() -> None:
    """Fit, print, keep."""
    start_host()
    from . import store

    torch.set_num_threads(1)
    found = probe(train_wide(SCENES, 1008), held_out_wide(ASKED, 700))
    kept: Kept = {
        feature: {name: (one.mean, one.low, one.high) for name, one in told.items()} for feature, told in found.items()
    }
    store.write_report("probe", kept)
    print("\n".join(probe_lines(kept)))


if __name__ == "__main__":
    main()
