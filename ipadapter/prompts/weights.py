"""Weights of images as a person types them: `1, 0.5`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ..errors import IPAdapterError
from ..numbers import shorten
from ..typed import entries, read_weight

Weights = tuple[float, ...]


def read_image_weights(text: str) -> Weights | None:
    """Numbers with commas, semicolons, spaces or line ends between them; None where there are none.

    Raises IPAdapterError naming the entry that cannot be read.
    """
    return tuple(image_weight(entry) for entry in entries(text, r",;\s")) or None


def image_weight(entry: str) -> float:
    """One entry."""
    return read_weight(entry, f"weights has '{shorten(entry)}'", ", which is no number: write numbers such as 1, 0.5.")


def share_weights(given: Weights | None, counts: Sequence[int]) -> list[Weights]:
    """What each image of some prompts weighs. `counts` are the prompts' images; nothing given is 1 for each.

    Raises IPAdapterError where the numbers are neither one a prompt nor one an image.
    """
    images = sum(counts)
    if given is None:
        given = (1.0,) * images
    if len(given) == len(counts):
        return [(weight,) * count for weight, count in zip(given, counts, strict=True)]
    if len(given) != images:
        raise IPAdapterError(
            f"weights has {len(given)} number(s) for {len(counts)} image prompt(s) of {images} image(s) in all: write "
            "one number for each prompt or for each image, or leave it empty."
        )
    ends = list(accumulate(counts))
    return [given[end - count : end] for end, count in zip(ends, counts, strict=True)]


def unless_plain(weights: Weights) -> Weights | None:
    """None in place of weights that are all 1."""
    return None if all(weight == 1.0 for weight in weights) else weights
