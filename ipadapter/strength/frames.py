"""Weights by frame: text and a timing to one number a frame.

A frame is a picture of a batch.
"""

from __future__ import annotations

import random
from enum import Enum

from ..numbers import shorten
from ..prompts.weights import Weights
from ..typed import entries, read_weight
from .easing import Easing, even, slow_both, slow_end, slow_start

UNTIL_THE_END = 9999


class FrameTiming(str, Enum):
    """How weights go from the first one typed to the last."""

    CUSTOM = "custom"
    LINEAR = "linear"
    EASE_IN_OUT = "ease_in_out"
    EASE_IN = "ease_in"
    EASE_OUT = "ease_out"
    RANDOM = "random"


FRAME_EASINGS: dict[FrameTiming, Easing] = {  # as ComfyUI_IPAdapter_plus has these words
    FrameTiming.LINEAR: even,
    FrameTiming.EASE_IN_OUT: slow_both,
    FrameTiming.EASE_IN: slow_end,
    FrameTiming.EASE_OUT: slow_start,
}


def timed_weights(
    text: str,
    timing: FrameTiming,
    frames: int = 0,
    start_frame: int = 0,
    end_frame: int = UNTIL_THE_END,
    add_starting_frames: int = 0,
    add_ending_frames: int = 0,
    seed: int = 0,
) -> Weights:
    """One weight a frame.

    `custom` takes the numbers typed, whatever `frames` is. The others hold the first one until `start_frame`, reach
    the last one at `end_frame` and hold it; one frame in all has the first. Added frames repeat the first and the
    last. Raises IPAdapterError for text that is no list of numbers.
    """
    typed = read_frame_weights(text)
    if timing is FrameTiming.CUSTOM:
        weights = typed or (0.0,)
    else:
        first, last = (typed[0], typed[-1]) if typed else (0.0, 1.0)
        count = max(frames, 1)
        last = first if count == 1 and end_frame else last  # there is no time to change in
        begin, end = min(start_frame, count), min(end_frame, count)
        change = drawn if timing is FrameTiming.RANDOM else eased
        weights = held((first,) * begin + change(first, last, max(0, end - begin), timing, seed), last, count)
    return (weights[0],) * add_starting_frames + weights + (weights[-1],) * add_ending_frames


def read_frame_weights(text: str) -> Weights:
    """Numbers with commas or new lines between them. Raises IPAdapterError naming what is none."""
    return tuple(frame_weight(entry) for entry in entries(text, r",\n"))


def frame_weight(entry: str) -> float:
    """One number."""
    wrong = " is not a number: write numbers with commas between them, such as 1.0, 0.5, 0."
    return read_weight(entry, f"weight '{shorten(entry)}'", wrong)


def eased(first: float, last: float, count: int, timing: FrameTiming, seed: int) -> Weights:
    """From the first weight to the last, both included; one frame alone has the last."""
    if count < 2:
        return (last,) * count
    return tuple(first + (last - first) * FRAME_EASINGS[timing](frame / (count - 1)) for frame in range(count))


def drawn(first: float, last: float, count: int, timing: FrameTiming, seed: int) -> Weights:
    """Anywhere between the two, the same for the same seed."""
    generator = random.Random(seed)
    return tuple(generator.uniform(first, last) for _ in range(count))


def held(weights: Weights, last: float, count: int) -> Weights:
    """As many as there are frames, the last one held."""
    return weights + (last,) * (count - len(weights))
