"""Measuring pictures in a graph: the metrics' encoder in the host's memory, with its progress and its interrupt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from torch import Tensor, nn

from ...drawing.plots import Strip, strip_plot
from ...encoders.two_towers import MetricEncoder, open_towers
from ...errors import IPAdapterError
from ...evaluation.distributions import Distances, Inception, distances, set_features
from ...evaluation.judges import Judge, Scores
from ...evaluation.measures import read_measures
from ...evaluation.metrics import (
    METRICS,
    Embedded,
    Score,
    as_data,
    describe_scores,
    embed_captions,
    embed_pictures,
    pair,
    score_pictures,
    summarise_scores,
)
from ...files.opening import refuse_name
from ...images.pixels import Fit, prepare_pixels
from ..encoders import encoder as image_encoder
from ..encoders.open_clip import tower_dtype
from ..files import HOST_ENCODERS, find_file, searched
from ..pictures import from_pil

PLOT_SIZE = (480, 240)


@dataclass(frozen=True)
class Comparison:
    """What is measured: single pictures (1, H, W, C), the references they follow, and captions or none."""

    generated: Sequence[Tensor]
    references: Sequence[Tensor]
    captions: Sequence[str]
    prefix: str = ""

    @property
    def steps(self) -> int:
        return len(self.generated) + len(self.references) + len(self.captions)


@dataclass(frozen=True)
class Evaluation:
    """Scores, and what made them."""

    scores: Sequence[Score]
    encoder: str
    prefix: str
    dino: str | None
    judges: Sequence[str] = ()
    far: Distances | None = None

    @property
    def text(self) -> str:
        lines = [f"Measured too with {label}." for label in self.judges]
        if self.far:
            counts = f"({self.far.pictures} pictures, {self.far.references} references: thousands are needed)"
            lines += [f"{METRICS[key].label}: {value:.4g} {counts}" for key, value in self.far.scores.items()]
        return "\n".join([describe_scores(self.scores, self.encoder, self.prefix, self.dino), *lines])

    @property
    def data(self) -> dict[str, object]:
        made = as_data(self.scores, self.encoder, self.prefix, self.dino)
        return {**made, "judges": list(self.judges), "sets": self.far.scores if self.far else {}}

    @property
    def plot(self) -> Tensor:
        """The chart as an IMAGE (1, H, W, 3)."""
        strips = [
            Strip(METRICS[key].label, numbers_of(self.scores, key), made.mean, made.low, made.high)
            for key, made in summarise_scores(self.scores).items()
        ]
        return from_pil(strip_plot(strips, *PLOT_SIZE, f"{len(self.scores)} picture(s), {self.encoder}"))


def numbers_of(scores: Sequence[Score], key: str) -> list[float]:
    """Every picture's number by a metric, of those that have one."""
    return [value for score in scores if (value := score.value(key)) is not None]


def evaluate(
    comparison: Comparison,
    name: str,
    architecture: str,
    dino: comfy.clip_vision.ClipVisionModel | None,
    more: Sequence[str] = (),
) -> Evaluation:
    """Measure with one of the user's encoder files by its listed name, and with a DINO encoder where there is one.

    `more` are measures by name, with `=` and the name of a file in the same folder behind it where they need one.
    """
    refuse_unpaired(comparison)
    asked = read_measures(list(more), find_weights)
    with_dino = None if dino is None else embed_dino(comparison, dino)
    label, clip, texts = embed_clip(comparison, open_metric_encoder(name, architecture))
    scores = score_pictures(clip, with_dino, texts, comparison.captions)
    judged = [judge(comparison, scores, measure.open(source)) for measure, source in asked.judges]
    scores = [replace(score, more=merged(found[score.picture] for _, found in judged)) for score in scores]
    far = [compare_sets(comparison, measure.open(source)) for measure, source in asked.sets]
    dino_label = None if dino is None else describe_dino(dino)
    judges = [judge_label for judge_label, _ in judged]
    return Evaluation(scores, label, comparison.prefix, dino_label, judges, far[0] if far else None)


def find_weights(name: str) -> Path:
    """A file of the encoders' folder, or a folder in it. Raises IPAdapterError for what is neither."""
    refuse_name(name)
    folders = (Path(place) / name for place in searched(HOST_ENCODERS))
    return next((folder for folder in folders if folder.is_dir()), None) or find_file(HOST_ENCODERS, name)


def merged(scores: Iterable[Scores]) -> Scores:
    """What several judges say of one picture."""
    return {key: value for one in scores for key, value in one.items()}


def judge(comparison: Comparison, scores: Sequence[Score], by: Judge) -> tuple[str, dict[int, Scores]]:
    """What a judge is called, and what it says of each picture, which is compared as it was with CLIP."""
    patcher, watch = load(by.module), Watcher(len(scores))
    found: dict[int, Scores] = {}  # by picture: those with one reference and caption need not follow each other
    for reference, caption in dict.fromkeys((score.reference, score.caption) for score in scores):
        measure = by.against(comparison.references[reference], () if caption is None else (caption,))
        for score in scores:
            if (score.reference, score.caption) == (reference, caption):
                found[score.picture] = measure(comparison.generated[score.picture])
                watch(1)
    del patcher  # held until here: the host sees what somebody holds
    return by.label, found


def compare_sets(comparison: Comparison, inception: Inception) -> Distances:
    """FID and KID of all pictures from all references."""
    patcher = load(inception)
    made, wanted = (set_features(inception, given) for given in (comparison.generated, comparison.references))
    del patcher  # held until here: the host sees what somebody holds
    return distances(made, wanted)


def refuse_unpaired(comparison: Comparison) -> None:
    """Refuse numbers that do not fit before anything is computed."""
    pair(len(comparison.generated), len(comparison.references), "reference")
    if comparison.captions:
        pair(len(comparison.generated), len(comparison.captions), "caption")


def open_metric_encoder(name: str, architecture: str) -> MetricEncoder:
    """A listed file's towers, in the type the host computes encoders in."""
    progress = comfy.utils.ProgressBar(1).update_absolute
    return open_towers(find_file(HOST_ENCODERS, name), name, architecture, tower_dtype(), progress)


def embed_clip(comparison: Comparison, encoder: MetricEncoder) -> tuple[str, Embedded, Tensor | None]:
    """The encoder's label, the pictures' embeddings, and the captions' where there are any."""
    watch, patcher = Watcher(comparison.steps), load(encoder.towers)  # the host sees what somebody holds
    device, captions = patcher.load_device, comparison.captions
    texts = embed_captions(encoder, captions, comparison.prefix, device, watch) if captions else None
    pictures, references = (
        embed_pictures(encoder, given, device, watch) for given in (comparison.generated, comparison.references)
    )
    return encoder.label, Embedded(pictures, references), texts


def load(module: nn.Module) -> comfy.model_patcher.ModelPatcher:
    """Have the host make room for a judge's weights and put them on its device."""
    patcher = comfy.model_patcher.CoreModelPatcher(
        module,
        load_device=comfy.model_management.text_encoder_device(),
        offload_device=comfy.model_management.text_encoder_offload_device(),
    )
    comfy.model_management.load_models_gpu([patcher])
    return patcher


class Watcher:
    """The host's progress bar, and its interrupt."""

    def __init__(self, steps: int) -> None:
        self.bar = comfy.utils.ProgressBar(steps)

    def __call__(self, done: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update(done)


def describe_dino(dino: comfy.clip_vision.ClipVisionModel) -> str:
    """A DINO encoder in users' words."""
    return f"{dino.model_type} ({image_encoder.pixel_format(dino).size} px)"


def embed_dino(comparison: Comparison, dino: comfy.clip_vision.ClipVisionModel) -> Embedded:
    """The class token after the last norm, of pictures and references. Raises IPAdapterError for another encoder."""
    kind = getattr(dino, "model_type", type(dino).__name__)
    if not str(kind).startswith("dino"):
        raise IPAdapterError(
            f"dino is given a {kind}, where a DINO encoder is needed: load a DINOv2 file with Load CLIP Vision."
        )
    form = image_encoder.pixel_format(dino)
    batches = [
        torch.cat([prepare_pixels(picture, None, Fit.CROP, form) for picture in pictures])
        for pictures in (comparison.generated, comparison.references)
    ]
    features = image_encoder.encode_all(dino, batches)
    image_encoder.refuse_features_not_finite(features, describe_dino(dino))
    return Embedded(*(made.image_embeds.cpu() for made in features))
