"""Which pictures of a run a model call sees: all of them, or those of a context window.

A context window of the host is a list of indices along one dimension of the latents: 0 counts pictures, 2 and 3 are
rows and columns of each (the host's nodes_context_windows). AnimateDiff names the pictures of a call in `ad_params`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...attention.masks import Cut
from ...errors import IPAdapterError
from ...images.masks import Size

PICTURES, ROWS, COLUMNS = 0, 2, 3  # dimensions of the latents (B, C, H, W)
Indices = tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """The pictures of a call, or None for the first ones; the rows and columns of each, or None for all."""

    pictures: Indices | None = None
    rows: Indices | None = None
    columns: Indices | None = None

    def frames(self, batch: int) -> Indices:
        """Which picture of the run each picture of the call is."""
        return self.pictures or tuple(range(batch))

    def cut(self, latent: Size) -> Cut | None:
        """The part of each picture, where it is not the whole."""
        if self.rows is None and self.columns is None:
            return None
        rows, columns = (
            range(side) if part is None else part for side, part in zip(latent, (self.rows, self.columns), strict=True)
        )
        return Cut(tuple(rows), tuple(columns))


ALL_SEEN = Seen()


def seen_by(options: dict[str, Any]) -> Seen:
    """What a call sees."""
    window = options.get("context_window")
    if window is not None:
        return of_window(window)
    indices = (options.get("ad_params") or {}).get("sub_idxs")
    return Seen(tuple(indices)) if indices else ALL_SEEN


def of_window(window: Any) -> Seen:
    """A context window of the host."""
    anchor = getattr(window, "causal_anchor_index", None)
    indices = (*([anchor] if anchor is not None and anchor >= 0 else ()), *window.index_list)
    by_dimension = {PICTURES: Seen(pictures=indices), ROWS: Seen(rows=indices), COLUMNS: Seen(columns=indices)}
    return by_dimension.get(window.dim, ALL_SEEN)


def refuse_mismatch(seen: Seen, batch: int) -> Seen:
    """A window over pictures names as many as there are. Raises IPAdapterError where it does not."""
    if seen.pictures is not None and len(seen.pictures) != batch:
        raise IPAdapterError(
            f"a context window names {len(seen.pictures)} pictures, but the model was called with {batch}: the image "
            "prompt cannot tell which frames these are."
        )
    return seen
