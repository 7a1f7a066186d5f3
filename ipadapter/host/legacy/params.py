"""References with their places as a graph carries them from one old node to another: `IPADAPTER_PARAMS`.

On the socket they are a mapping of lists, an entry for each reference: nodes of other packs make and join such mappings
too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from ...errors import IPAdapterError

Params = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class RegionParams:
    """A reference with its place in the picture, not yet encoded."""

    image: Tensor
    attn_mask: Tensor | None
    weight: float | Sequence[float]
    weight_type: str
    start_at: float
    end_at: float


PARAM_LISTS = tuple(field.name for field in fields(RegionParams))


def params_of(region: RegionParams) -> dict[str, list[Any]]:
    """One reference as the socket has it."""
    return {name: [getattr(region, name)] for name in PARAM_LISTS}


def join_params(several: Sequence[Params]) -> dict[str, list[Any]]:
    """The references of all. Raises IPAdapterError for what is no such mapping."""
    for one in several:
        refuse_no_params(one)
    return {name: [entry for one in several for entry in one[name]] for name in PARAM_LISTS}


def regions_of(params: Params) -> tuple[RegionParams, ...]:
    """Every reference that is there. Raises IPAdapterError for what is no such mapping."""
    refuse_no_params(params)
    rows = zip(*(params[name] for name in PARAM_LISTS), strict=True)
    return tuple(RegionParams(*row) for row in rows if row[0] is not None)


def refuse_no_params(params: object) -> None:
    """Refuse what another node made that is no mapping of lists of one length."""
    lists = [params.get(name) for name in PARAM_LISTS] if isinstance(params, Mapping) else []
    lengths = {len(one) for one in lists if isinstance(one, (list, tuple))}
    if not lists or not all(isinstance(one, (list, tuple)) for one in lists) or len(lengths) != 1:
        raise IPAdapterError(
            f"ipadapter_params is no list of references with {', '.join(PARAM_LISTS)} for each: connect it to "
            "IPAdapter Regional Conditioning."
        )
