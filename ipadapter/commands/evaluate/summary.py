"""The result, beside the paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...evaluation.metrics import CAVEAT
from ...evaluation.statistics import Estimate, bootstrap_mean
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


def summarise_rows(rows: Sequence[ResultRow]) -> dict[str, Estimate]:
    """Mean and interval of every metric that was measured; intervals are over images."""
    groups = {name: index for index, name in enumerate(dict.fromkeys(row.image for row in rows))}
    measured = {key: [row for row in rows if getattr(row, key) is not None] for key in LABELS}
    return {
        key: bootstrap_mean([getattr(row, key) for row in found], [groups[row.image] for row in found])
        for key, found in measured.items()
        if found
    }


def describe_results(rows: Sequence[ResultRow], architecture: str, prefix: str) -> str:
    """The summary in Markdown: this run's numbers, the paper's below them, and what to mind."""
    made = summarise_rows(rows)
    images = len({row.image for row in rows})
    return "\n".join(
        [
            f"{len(rows)} picture(s) of {images} image(s), measured with {architecture}",
            "",
            *(f"- {label}: {made[key]}" for key, label in LABELS.items() if key in made),
            "",
            *table(made),
            "",
            *notes(len(rows), images, architecture, prefix),
        ]
    )


LABELS = {"clip_i": "CLIP-I", "clip_t": "CLIP-T (cosine)", "clip_score": "CLIP-T (2.5 x cosine)"}


def table(made: dict[str, Estimate]) -> list[str]:
    """Table 1 with this run above it."""
    ours = [f"{made[key].mean:.3f}" if key in made else "-" for key in ("clip_score", "clip_i")]
    lines = [("method", "trainable", "CLIP-T", "CLIP-I"), ("---", "---", "---", "---"), ("this run", "", *ours)]
    lines += [(f"{one.name} [paper]", one.trainable, f"{one.clip_t:.3f}", f"{one.clip_i:.3f}") for one in TABLE_1]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]


def notes(pictures: int, images: int, architecture: str, prefix: str) -> list[str]:
    """What a reader has to know before comparing."""
    said = f'the prefix "{prefix}"' if prefix else "no prefix"
    lines = [
        f"- CLIP-T is the mean over all captions of an image, with {said}. The paper does not say which caption, "
        "prefix or seeds it used; its numbers fit 2.5 x cosine, so that is what stands beside them.",
        "- Intervals: percentile bootstrap over images, 2000 resamples, seeded.",
        f"- {CAVEAT}",
    ]
    if architecture != PAPERS_ENCODER:
        lines.append(f"- Measured with {architecture}, the paper with OpenAI's ViT-L/14: not comparable with Table 1.")
    if images < PAPERS_IMAGES or pictures < images * PAPERS_PICTURES:
        lines.append(
            f"- The paper has {PAPERS_IMAGES} images of COCO val2017 with {PAPERS_PICTURES} pictures each; this run "
            f"has {images} image(s) with {pictures / max(1, images):.3g} each."
        )
    return lines
