"""The result, beside the paper's Table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...evaluation.distributions import Distances
from ...evaluation.metrics import CAVEAT, METRICS, estimates
from ...evaluation.statistics import Estimate
from .folder import category_of
from .methods import ComparedMethod
from .rows import ResultRow


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper's Table 1: COCO val2017, four pictures an image, CLIP ViT-L/14."""

    name: str
    trainable: str
    clip_t: float
    clip_i: float


TABLE_1 = (
    PaperRow("Open unCLIP", "893M", 0.608, 0.858),
    PaperRow("Kandinsky-2-1", "1229M", 0.599, 0.855),
    PaperRow("Versatile Diffusion", "860M", 0.587, 0.830),
    PaperRow("SD Image Variations", "860M", 0.548, 0.760),
    PaperRow("SD unCLIP", "870M", 0.584, 0.810),
    PaperRow("Uni-ControlNet (Global Control)", "47M", 0.506, 0.736),
    PaperRow("T2I-Adapter (Style)", "39M", 0.485, 0.648),
    PaperRow("ControlNet Shuffle", "361M", 0.421, 0.616),
    PaperRow("IP-Adapter", "22M", 0.588, 0.828),
)
PAPERS_ENCODER = "ViT-L-14-quickgelu"
PAPERS_IMAGES, PAPERS_PICTURES = 5000, 4


@dataclass(frozen=True)
class MeasuredWith:
    """What numbers were measured with, as far as a reader has to know."""

    architecture: str
    prefix: str = ""
    labels: Sequence[str] = ()  # of all judges


@dataclass(frozen=True)
class Systems:
    """Methods that stand beside each other, and why others do not."""

    methods: Sequence[ComparedMethod]
    left_out: Mapping[str, str]
    distances: Mapping[str, Distances]  # a method's name -> FID and KID of all its pictures


THIS_RUN_ALONE = Systems((ComparedMethod("", "this run"),), {}, {})


def summarise_rows(rows: Sequence[ResultRow]) -> dict[str, Estimate]:
    """Mean and interval of every metric that was measured; intervals are over images."""
    return estimates((row.image, key, row.value(key)) for row in rows for key in METRICS)


def describe_results(rows: Sequence[ResultRow], measured: MeasuredWith, systems: Systems = THIS_RUN_ALONE) -> str:
    """The summary in Markdown: this run's numbers, the paper's beside or below them, and what to mind."""
    made = {
        method.name: summarise_rows([row for row in rows if row.method == method.name]) for method in systems.methods
    }
    images = len({row.image for row in rows})
    alone = systems.methods == THIS_RUN_ALONE.methods
    sections = [
        [f"{len(rows)} picture(s) of {images} image(s), measured with {measured.architecture}"],
        means(made[""], systems.distances.get("")) if alone else [],
        table(made[""]) if alone else comparison(made, systems),
        by_category(rows, systems.methods),
        notes(len(rows), images, measured, len({row.method for row in rows})),
    ]
    left_out = [f"- {name} is not drawn: {why}." for name, why in systems.left_out.items()]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "".join(f"\n{line}" for line in left_out)


def means(made: Mapping[str, Estimate], distances: Distances | None) -> list[str]:
    """Every metric, a line each."""
    lines = [f"- {METRICS[key].label}: {estimate}" for key, estimate in made.items()]
    sets = {} if distances is None else distances.scores
    return [*lines, *(f"- {METRICS[key].label}: {value:.4g}" for key, value in sets.items())]


def table(made: Mapping[str, Estimate]) -> list[str]:
    """Table 1 with this run above it."""
    ours = [f"{made[key].mean:.3f}" if key in made else "-" for key in ("clip_score", "clip_i")]
    lines = [("method", "trainable", "CLIP-T", "CLIP-I"), ("this run", "", *ours)]
    lines += [(f"{one.name} [paper]", one.trainable, f"{one.clip_t:.3f}", f"{one.clip_i:.3f}") for one in TABLE_1]
    return in_columns(lines)


def comparison(made: Mapping[str, Mapping[str, Estimate]], systems: Systems) -> list[str]:
    """A table in the shape of the paper's, a method a row, with the paper's own numbers in the last two columns."""
    found = {key for scores in made.values() for key in scores} - {"clip_t", "clip_score", "clip_i"}
    sets = [key for key in ("fid", "kid") if systems.distances]
    keys = ["clip_score", "clip_i", *(key for key in METRICS if key in found)]
    headings = ["CLIP-T", "CLIP-I", *(METRICS[key].heading for key in (*keys[2:], *sets))]
    lines = [["method", "trainable", *headings, "CLIP-T [paper]", "CLIP-I [paper]"]]
    for method in systems.methods:
        paper = next((row for row in TABLE_1 if row.name == method.paper), None)
        scores, far = made.get(method.name, {}), systems.distances.get(method.name)
        lines.append(
            [
                method.label,
                paper.trainable if paper else "",
                *(mean_in_short(scores.get(key)) for key in keys),
                *(f"{far.scores[key]:.4g}" if far else "-" for key in sets),
                *((f"{paper.clip_t:.3f}", f"{paper.clip_i:.3f}") if paper else ("-", "-")),
            ]
        )
    return in_columns(lines)


def mean_in_short(estimate: Estimate | None) -> str:
    """A mean with its interval in a table's cell."""
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:.3f}"
    return f"{estimate.mean:.3f} ({estimate.low:.3f} … {estimate.high:.3f})"


def by_category(rows: Sequence[ResultRow], methods: Sequence[ComparedMethod]) -> list[str]:
    """A row for each method and category of a benchmark; nothing where images have no categories."""
    categories = sorted({category_of(row.image) for row in rows} - {""})
    if not categories:
        return []
    keys = [key for key in METRICS if any(row.value(key) is not None for row in rows)]
    lines = [["category", "method", "pictures", *(METRICS[key].heading for key in keys)]]
    for category in categories:
        for method in methods:
            own = [row for row in rows if row.method == method.name and category_of(row.image) == category]
            scores = summarise_rows(own)
            lines.append([category, method.label, str(len(own)), *(mean_in_short(scores.get(key)) for key in keys)])
    return in_columns(lines)


def in_columns(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first line is its head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    ruled = [lines[0], ["---"] * len(widths), *lines[1:]]
    return [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in ruled
    ]


def notes(pictures: int, images: int, measured: MeasuredWith, methods: int) -> list[str]:
    """What a reader has to know before comparing."""
    architecture, prefix = measured.architecture, measured.prefix
    said = f'the prefix "{prefix}"' if prefix else "no prefix"
    lines = [
        f"- CLIP-T is the mean over all captions of an image, with {said}. The paper does not say which caption, "
        "prefix or seeds it used; its numbers fit 2.5 x cosine, so that is what stands beside them.",
        "- Intervals: percentile bootstrap over images, 2000 resamples, seeded.",
        f"- {CAVEAT}",
        *(f"- Measured too with {label}." for label in measured.labels[1:]),
    ]
    if architecture != PAPERS_ENCODER:
        lines.append(f"- Measured with {architecture}, the paper with OpenAI's ViT-L/14: not comparable with Table 1.")
    pictures //= max(1, methods)
    if images < PAPERS_IMAGES or pictures < images * PAPERS_PICTURES:
        lines.append(
            f"- The paper has {PAPERS_IMAGES} images of COCO val2017 with {PAPERS_PICTURES} pictures each; this run "
            f"has {images} image(s) with {pictures / max(1, images):.3g} each."
        )
    return lines
