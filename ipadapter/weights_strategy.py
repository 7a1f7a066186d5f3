"""Settings for weights by frame as a graph carries them from one node to another.

On the socket they are a plain mapping: nodes of other packs make such mappings too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import IPAdapterError
from .frame_weights import UNTIL_THE_END, Method, Schedule, Timing, frame_weights, make_schedule


@dataclass(frozen=True)
class WeightsStrategy:
    """The settings of `frame_weights` and `make_schedule`. `frame_count` is the number of pictures."""

    weights: str = ""
    timing: str = Timing.CUSTOM.value
    frames: int = 0
    start_frame: int = 0
    end_frame: int = UNTIL_THE_END
    add_starting_frames: int = 0
    add_ending_frames: int = 0
    method: str = Method.FULL.value
    frame_count: int = 0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> WeightsStrategy:
        """Raises IPAdapterError for what is no such mapping."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or "weights" not in values:
            raise IPAdapterError("weights_strategy holds no settings for weights: connect it to IPAdapter Weights.")
        return cls(**{name: value for name, value in values.items() if name in names})

    def as_dict(self) -> dict[str, Any]:
        """As other nodes read them."""
        return asdict(self)


def schedule_of(strategy: WeightsStrategy, pictures: int) -> Schedule:
    """Weights by frame for so many pictures; without any, one list of weights."""
    weights = frame_weights(
        strategy.weights, Timing(strategy.timing), strategy.frames, strategy.start_frame, strategy.end_frame
    )
    schedule = make_schedule(weights, pictures, Method(strategy.method))
    if pictures == 0:
        return schedule
    return schedule.padded(strategy.add_starting_frames, strategy.add_ending_frames, pictures)
