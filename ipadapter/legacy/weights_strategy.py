"""Settings for weights by frame as a graph carries them from one node to another.

On the socket they are a plain mapping: nodes of other packs make such mappings too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import IPAdapterError
from ..numbers import Range, require
from ..strength.frames import UNTIL_THE_END, FrameTiming, timed_weights
from .schedule import Method, Schedule, make_schedule

FRAMES = ("frames", "start_frame", "end_frame", "add_starting_frames", "add_ending_frames")
MOST = {**dict.fromkeys(FRAMES, UNTIL_THE_END), "frame_count": 1_000_000}


@dataclass(frozen=True)
class WeightsStrategy:
    """The settings of `timed_weights` and `make_schedule`. `frame_count` is the number of pictures."""

    weights: str = ""
    timing: str = FrameTiming.CUSTOM.value
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
        given = {name: value for name, value in values.items() if name in names}
        for name, most in MOST.items():
            require(given.get(name, 0), f"{name} of weights_strategy", Range(0, most, whole=True))
        return cls(**given | {name: int(given[name]) for name in MOST if name in given})

    def __post_init__(self) -> None:
        for name, kinds in (("timing", FrameTiming), ("method", Method)):
            known = [kind.value for kind in kinds]
            if getattr(self, name) not in known:
                raise IPAdapterError(f"{name} of weights_strategy is none of {', '.join(known)}.")
        if not isinstance(self.weights, str):
            raise IPAdapterError("weights of weights_strategy are no text of numbers, such as 1.0, 0.5.")

    def as_dict(self) -> dict[str, Any]:
        """As other nodes read them."""
        return asdict(self)


def schedule_of(strategy: WeightsStrategy, pictures: int) -> Schedule:
    """Weights by frame for so many pictures; without any, one list of weights."""
    frames = max(strategy.frames, 2)  # as old graphs count them
    weights = timed_weights(
        strategy.weights, FrameTiming(strategy.timing), frames, strategy.start_frame, strategy.end_frame
    )
    schedule = make_schedule(weights, pictures, Method(strategy.method))
    if pictures == 0:
        return schedule
    return schedule.padded(strategy.add_starting_frames, strategy.add_ending_frames, pictures)
