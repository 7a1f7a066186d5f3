"""Every measure beside CLIP's own as a row: what it is called, which metrics it gives, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import IPAdapterError
from .dino import DINO_V2, DINO_V3, open_dino
from .distributions import Inception, open_inception
from .judges import Judge
from .nearness import open_lpips
from .preference import open_hps, open_pick_score
from .questions import open_vqa_score
from .style import open_csd
from .weights import WeightSource

WeightFinder = Callable[[str], Path]  # a name that somebody wrote to a file or folder


@dataclass(frozen=True)
class JudgeMeasure:
    """A judge that can be asked for. `weights` says what is written behind its name; empty where nothing needs be."""

    name: str
    keys: tuple[str, ...]
    weights: str
    open: Callable[[WeightSource], Judge]


@dataclass(frozen=True)
class SetMeasure:
    """What compares two sets of pictures and says nothing of one."""

    name: str
    keys: tuple[str, ...]
    weights: str
    open: Callable[[WeightSource], Inception]


JUDGES = (
    JudgeMeasure("dinov2", ("dino_i",), "a file of DINOv2 in transformers' layout", partial(open_dino, DINO_V2)),
    JudgeMeasure("dinov3", ("dino_v3_i",), "a file of DINOv3 in transformers' layout", partial(open_dino, DINO_V3)),
    JudgeMeasure("csd", ("csd",), "a file of CSD", open_csd),
    JudgeMeasure("pickscore", ("pick_score",), "a file of PickScore", open_pick_score),
    JudgeMeasure("hpsv2", ("hps_v2",), "a file of HPS v2", open_hps),
    JudgeMeasure(
        "vqascore", ("vqa_score",), "a folder with a model of transformers that answers questions", open_vqa_score
    ),
    JudgeMeasure("lpips", ("lpips",), "", open_lpips),
)
SETS = (SetMeasure("fid", ("fid", "kid"), "", open_inception),)
EVERY_MEASURE: tuple[JudgeMeasure | SetMeasure, ...] = (*JUDGES, *SETS)
MEASURES = {row.name: row for row in EVERY_MEASURE}


@dataclass(frozen=True)
class Asked:
    """Measures that somebody wants, with where their weights are."""

    judges: tuple[tuple[JudgeMeasure, WeightSource], ...] = ()
    sets: tuple[tuple[SetMeasure, WeightSource], ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Metrics of single pictures, in the order in which they were asked for."""
        return tuple(key for measure, _ in self.judges for key in measure.keys)


def read_measures(texts: list[str], find: WeightFinder) -> Asked:
    """Each text is a measure's name, with `=` and its weights behind it where it needs some.

    Raises IPAdapterError for a name that is none, one that is there twice, and weights that are missing.
    """
    chosen: list[tuple[JudgeMeasure | SetMeasure, WeightSource]] = [read_measure(text, find) for text in texts]
    names = [measure.name for measure, _ in chosen]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise IPAdapterError(f"the measure {twice} is asked for twice: once is enough.")
    return Asked(
        tuple((measure, source) for measure, source in chosen if isinstance(measure, JudgeMeasure)),
        tuple((measure, source) for measure, source in chosen if isinstance(measure, SetMeasure)),
    )


def read_measure(text: str, find: WeightFinder) -> tuple[JudgeMeasure | SetMeasure, WeightSource]:
    """One measure and its weights."""
    name, _, weights = (part.strip() for part in text.partition("="))
    measure = MEASURES.get(name.lower())
    if measure is None:
        raise IPAdapterError(f"there is no measure '{name}': choose {', '.join(MEASURES)}.")
    if measure.weights and not weights:
        raise IPAdapterError(f"{measure.name} needs {measure.weights}: write {measure.name}=NAME.")
    named_word = not measure.weights and (not weights or "." not in weights)
    return measure, WeightSource(weights, None if named_word else find(weights))
