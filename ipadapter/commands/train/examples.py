"""The cache as the training set of the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...adapters.features import Read
from ...errors import IPAdapterError
from ...training.buckets import Buckets
from ...training.module import ModelText
from .cache import READ_ROWS, CachedRows
from .encoding import Plan

TextInputs = Callable[[Tensor, Tensor | None, Tensor], ModelText]  # contexts (B, L, C), pooled (B, P), sizes (B, 4 | 6)


def context_only(context: Tensor, pooled: Tensor | None, sizes: Tensor) -> ModelText:
    """What SD1.5 reads."""
    return {"c_crossattn": context}


@dataclass(frozen=True)
class CachedSet:
    """`TrainingSet` over a filled cache."""

    pictures: CachedRows
    texts: CachedRows
    nothing: dict[str, Tensor]  # (E,) or (S, D) each, by name: what the projection reads of a dropped picture
    inputs: TextInputs

    @property
    def buckets(self) -> Buckets | None:
        """Which pictures are of one size, where they may be of several."""
        sizes = self.pictures.whole("sizes")
        return Buckets.of([tuple(row) for row in sizes[:, 4:].tolist()]) if sizes.shape[1] > 4 else None

    def __len__(self) -> int:
        return len(self.pictures)

    def latents(self, indices: Sequence[int]) -> Tensor:
        """(B, C, h, w)"""
        return self.pictures.get("latents", indices).float()

    def areas(self, indices: Sequence[int]) -> Tensor | None:
        """(B, 1, h, w), where transparent places are left out"""
        return self.pictures.get("area", indices) if self.pictures.has("area") else None

    def features(self, indices: Sequence[int], dropped: Sequence[bool]) -> Read:
        """(B, E) or (B, S, D) each"""
        rows = list(zip(indices, dropped, strict=True))
        return tuple(
            torch.stack([nothing if drop else self.pictures.row(name, index).float() for index, drop in rows])
            for name, nothing in self.nothing.items()
        )

    @property
    def width(self) -> int:
        """Of the image encoder's features, or of a face where only that is read."""
        return self.nothing[READ_ROWS[-1]].shape[-1]

    def text(self, indices: Sequence[int], dropped: Sequence[bool]) -> ModelText:
        """Contexts, and what else the base model reads; row 0 of the texts is the empty one."""
        told = self.pictures.get("text", indices).tolist()
        rows = [0 if drop else row for row, drop in zip(told, dropped, strict=True)]
        pooled = self.texts.get("pooled", rows).float() if self.texts.has("pooled") else None
        return self.inputs(self.texts.get("context", rows).float(), pooled, self.pictures.get("sizes", indices))

    def told(self, index: int, dropped: bool) -> tuple[Tensor, Tensor | None]:
        """One text: its context (L, C), and its pooled embedding (P,) where there are any."""
        row = 0 if dropped else int(self.pictures.row("text", index))
        pooled = self.texts.row("pooled", row).float() if self.texts.has("pooled") else None
        return self.texts.row("context", row).float(), pooled


def open_set(plan: Plan, inputs: TextInputs = context_only) -> CachedSet:
    """The examples of a filled cache. Raises IPAdapterError where none is left."""
    pictures = CachedRows.of(plan.cache.pictures(number) for number in range(len(plan.picture_chunks)))
    if not len(pictures):
        raise IPAdapterError(f"none of the {len(plan.entries)} pictures can be read, so there is nothing to train on.")
    texts = CachedRows.of(plan.cache.texts(number) for number in range(len(plan.text_chunks)))
    kept = CachedRows.of([plan.cache.nothing])
    nothing = {name: kept.row(name, 0).float() for name in READ_ROWS if kept.has(name)}
    return CachedSet(pictures, texts, nothing, inputs)
