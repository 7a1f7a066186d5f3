"""Metrics: how well pictures follow the image, and the caption, they were asked to follow.

CLIP-I is the cosine of two image embeddings. CLIP-T is the cosine of an image and a caption embedding, and also
CLIPScore, 2.5 · max(cos, 0) (Hessel et al., arXiv 2104.08718), in which the paper's Table 1 is given.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum

import torch
from torch import Tensor

from ..encoders.two_towers import MetricEncoder, open_tokenizer
from ..errors import IPAdapterError
from ..images.pixels import prepare_pixels
from .statistics import Estimate, bootstrap_mean

EMBEDDED_AT_ONCE = 8  # pictures or captions a pass
CLIP_SCORE = 2.5  # Hessel's factor
CPU = torch.device("cpu")
CAVEAT = (
    "Methods that are conditioned on CLIP embeddings, as IP-Adapter is, score high on CLIP metrics: compare like with "
    "like, read a DINO number beside them, and look at the pictures."
)

EmbeddingWatch = Callable[[int], None]  # told how many more are done; may raise to stop


def unwatched(_: int) -> None:
    """Nobody is watching."""


@dataclass(frozen=True)
class Score:
    """One picture's numbers. `clip_t` is a cosine; a picture without caption has neither it nor `clip_score`.

    `more` has what other judges say, by metric.
    """

    picture: int
    reference: int
    caption: str | None
    clip_i: float
    clip_t: float | None
    clip_score: float | None
    dino_i: float | None
    more: Mapping[str, float] = field(default_factory=dict)

    def value(self, key: str) -> float | None:
        """Its number by a metric, or None."""
        return self.more.get(key, getattr(self, key, None))

    @property
    def data(self) -> dict[str, object]:
        """For programs."""
        made = asdict(self)
        return {**made, **made.pop("more")}


class Compared(str, Enum):
    """What a picture is compared with."""

    REFERENCE = "the reference"
    CAPTION = "the caption"
    SET = "all references"  # and only all pictures together


@dataclass(frozen=True)
class Metric:
    """One kind of number."""

    key: str
    label: str
    compares: Compared
    nearer_is_lower: bool = False

    @property
    def heading(self) -> str:
        """For a table's column."""
        return f"{self.label} ↓" if self.nearer_is_lower else self.label


METRICS = {
    metric.key: metric
    for metric in (
        Metric("clip_i", "CLIP-I", Compared.REFERENCE),
        Metric("clip_t", "CLIP-T (cosine)", Compared.CAPTION),
        Metric("clip_score", "CLIP-T (2.5 x cosine)", Compared.CAPTION),
        Metric("dino_i", "DINO-I", Compared.REFERENCE),
        Metric("dino_v3_i", "DINOv3-I", Compared.REFERENCE),
        Metric("csd", "CSD", Compared.REFERENCE),
        Metric("lpips", "LPIPS", Compared.REFERENCE, nearer_is_lower=True),
        Metric("vqa_score", "VQAScore", Compared.CAPTION),
        Metric("pick_score", "PickScore", Compared.CAPTION),
        Metric("hps_v2", "HPS v2", Compared.CAPTION),
        Metric("fid", "FID", Compared.SET, nearer_is_lower=True),
        Metric("kid", "KID", Compared.SET, nearer_is_lower=True),
    )
}


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Row by row, (N, E) and (N, E) to (N,)."""
    return torch.nn.functional.cosine_similarity(one.float(), other.float(), dim=-1)


def clip_score(cosines: Tensor) -> Tensor:
    """CLIPScore of cosines."""
    return CLIP_SCORE * cosines.clamp(min=0)


def embed_pictures(
    encoder: MetricEncoder, pictures: Sequence[Tensor], device: torch.device = CPU, watch: EmbeddingWatch = unwatched
) -> Tensor:
    """Pictures, each (1, H, W, 1 | 3 | 4) in 0 … 1 of any size, to unit vectors (N, E) on the CPU.

    `device` is where the towers are.
    """
    made = []
    for start in range(0, len(pictures), EMBEDDED_AT_ONCE):
        chunk = pictures[start : start + EMBEDDED_AT_ONCE]
        pixels = torch.cat([prepare_pixels(picture, None, encoder.fit, encoder.form) for picture in chunk])
        made.append(encoder.towers.embed_pixels(pixels.to(device)).cpu())  # (n, E)
        watch(len(chunk))
    return refuse_embeddings_not_finite(torch.cat(made), encoder)


def embed_captions(
    encoder: MetricEncoder,
    captions: Sequence[str],
    prefix: str = "",
    device: torch.device = CPU,
    watch: EmbeddingWatch = unwatched,
) -> Tensor:
    """Captions, each with the prefix before it, to unit vectors (N, E) on the CPU."""
    tokens = open_tokenizer(encoder)([with_prefix(prefix, caption) for caption in captions])
    vocabulary = encoder.architecture.text.get("vocab_size", 49408)
    if int(tokens.max()) >= vocabulary:
        raise IPAdapterError(
            f"the text tower of {encoder.label} knows {vocabulary} tokens, fewer than its tokenizer makes: its "
            "text_cfg names another tokenizer than it was trained with."
        )
    made = []
    for chunk in tokens.split(EMBEDDED_AT_ONCE):
        made.append(encoder.towers.embed_tokens(chunk.to(device)).cpu())
        watch(len(chunk))
    return refuse_embeddings_not_finite(torch.cat(made), encoder)


def with_prefix(prefix: str, caption: str) -> str:
    """Hessel's own code puts "A photo depicts" before every caption; the default here is nothing."""
    return f"{prefix.strip()} {caption.strip()}".strip()


def refuse_embeddings_not_finite(embeddings: Tensor, encoder: MetricEncoder) -> Tensor:
    """Refuse what a damaged encoder makes of good pictures."""
    if not bool(torch.isfinite(embeddings).all()):
        raise IPAdapterError(f"{encoder.label} made NaN or infinite embeddings: its file is damaged; use another copy.")
    return embeddings


def pair(count: int, others: int, what: str) -> list[int]:
    """Which of `others` each of `count` pictures belongs to: one for all, one each, or equal blocks in their order."""
    if others == 0 or count % others:
        raise IPAdapterError(
            f"{count} generated picture(s) and {others} {what}(s) do not pair: give one {what} for all, one for each, "
            f"or the same number of pictures for every {what}, in the order of the {what}s."
        )
    return [index * others // count for index in range(count)]


@dataclass(frozen=True)
class Embedded:
    """Unit vectors of what is compared: (N, E) pictures and (R, E) references."""

    pictures: Tensor
    references: Tensor


def similarities(made: Embedded, follows: Sequence[int]) -> list[float]:
    """Each picture's cosine with the reference it follows."""
    values: list[float] = cosine(made.pictures, made.references[list(follows)]).tolist()
    return values


def score_pictures(clip: Embedded, dino: Embedded | None, texts: Tensor | None, captions: Sequence[str]) -> list[Score]:
    """Scores in the pictures' order; `texts` (C, E) are the captions' embeddings. Raises IPAdapterError on counts."""
    count = len(clip.pictures)
    follows = pair(count, len(clip.references), "reference")
    says = None if texts is None else pair(count, len(captions), "caption")
    clip_t = None if texts is None or says is None else cosine(clip.pictures, texts[says])
    clip_i, dino_i = similarities(clip, follows), None if dino is None else similarities(dino, follows)
    return [
        Score(
            index,
            follows[index],
            None if says is None else captions[says[index]],
            clip_i[index],
            None if clip_t is None else clip_t[index].item(),
            None if clip_t is None else clip_score(clip_t)[index].item(),
            None if dino_i is None else dino_i[index],
        )
        for index in range(count)
    ]


def summarise_scores(scores: Sequence[Score]) -> dict[str, Estimate]:
    """The mean of every metric that was measured, with its interval over references."""
    return estimates((score.reference, key, score.value(key)) for score in scores for key in METRICS)


def estimates(values: Iterable[tuple[Hashable, str, float | None]]) -> dict[str, Estimate]:
    """The mean of every metric over what was measured, in the metrics' order, from (group, metric, number)."""
    found: dict[str, list[tuple[Hashable, float]]] = {key: [] for key in METRICS}
    for group, key, value in values:
        if value is not None:
            found[key].append((group, value))
    return {key: mean_of_groups(pairs) for key, pairs in found.items() if pairs}


def mean_of_groups(pairs: Sequence[tuple[Hashable, float]]) -> Estimate:
    """A mean with its interval over groups."""
    numbers = {group: index for index, group in enumerate(dict.fromkeys(group for group, _ in pairs))}
    return bootstrap_mean([value for _, value in pairs], [numbers[group] for group, _ in pairs])


def describe_scores(scores: Sequence[Score], encoder: str, prefix: str, dino: str | None) -> str:
    """The result for people, a line a metric."""
    references = len({score.reference for score in scores})
    lines = [f"{len(scores)} picture(s) of {references} reference(s), measured with {encoder}", ""]
    lines += [f"{METRICS[key].label}: {estimate}" for key, estimate in summarise_scores(scores).items()]
    lines += ["", "Intervals: bootstrap over references (percentile, 2000 resamples, seeded)."]
    if scores[0].clip_t is not None:
        lines.append(f'Captions: prefix "{prefix}".' if prefix else "Captions: as they are, without a prefix.")
    if dino:
        lines.append(f"DINO-I: measured with {dino}.")
    return "\n".join([*lines, CAVEAT])


def as_data(scores: Sequence[Score], encoder: str, prefix: str, dino: str | None) -> dict[str, object]:
    """The result for programs: JSON's own types."""
    return {
        "encoder": encoder,
        "dino": dino,
        "prefix": prefix,
        "summary": {key: asdict(estimate) for key, estimate in summarise_scores(scores).items()},
        "rows": [score.data for score in scores],
        "caveat": CAVEAT,
    }
