"""Weights by frame, and which pictures they fade between: text and a timing to one number a frame.

A frame is a picture of a batch. A list of weights serves one picture, or one change from a picture to the next, and is
repeated for as many as there are.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from . import numbers
from .errors import IPAdapterError
from .image_weights import Weights

UNTIL_THE_END = 9999


class Timing(str, Enum):
    """How weights go from the first one typed to the last."""

    CUSTOM = "custom"
    LINEAR = "linear"
    EASE_IN_OUT = "ease_in_out"
    EASE_IN = "ease_in"
    EASE_OUT = "ease_out"
    RANDOM = "random"


class Method(str, Enum):
    """What a batch of pictures becomes."""

    FULL = "full batch"  # one after another
    SHIFT = "shift batches"  # each fades to the next, image_1 to image_2
    ALTERNATE = "alternate batches"  # the same, and a picture stays in its batch until it has faded


PROGRESS: dict[Timing, Callable[[float], float]] = {
    Timing.LINEAR: lambda x: x,
    Timing.EASE_IN_OUT: lambda x: (1 - math.cos(math.pi * x)) / 2,
    Timing.EASE_IN: lambda x: math.sin(math.pi * x / 2),
    Timing.EASE_OUT: lambda x: 1 - math.cos(math.pi * x / 2),
}


def frame_weights(
    text: str,
    timing: Timing,
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
    typed = read_weights(text)
    if timing is Timing.CUSTOM:
        weights = typed or (0.0,)
    else:
        first, last = (typed[0], typed[-1]) if typed else (0.0, 1.0)
        count = max(frames, 1)
        last = first if count == 1 and end_frame else last  # there is no time to change in
        begin, end = min(start_frame, count), min(end_frame, count)
        change = drawn if timing is Timing.RANDOM else eased
        weights = held((first,) * begin + change(first, last, max(0, end - begin), timing, seed), last, count)
    return (weights[0],) * add_starting_frames + weights + (weights[-1],) * add_ending_frames


def read_weights(text: str) -> Weights:
    """Numbers with commas or new lines between them. Raises IPAdapterError naming what is none."""
    entries = [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]
    return tuple(read_weight(entry) for entry in entries)


def read_weight(entry: str) -> float:
    """One number."""
    wrong = " is not a number: write numbers with commas between them, such as 1.0, 0.5, 0."
    return numbers.read_weight(entry, f"weight '{numbers.shorten(entry)}'", wrong)


def eased(first: float, last: float, count: int, timing: Timing, seed: int) -> Weights:
    """From the first weight to the last, both included; one frame alone has the last."""
    if count < 2:
        return (last,) * count
    return tuple(first + (last - first) * PROGRESS[timing](frame / (count - 1)) for frame in range(count))


def drawn(first: float, last: float, count: int, timing: Timing, seed: int) -> Weights:
    """Anywhere between the two, the same for the same seed."""
    generator = random.Random(seed)
    return tuple(generator.uniform(first, last) for _ in range(count))


def held(weights: Weights, last: float, count: int) -> Weights:
    """As many as there are frames, the last one held."""
    return weights + (last,) * (count - len(weights))


@dataclass(frozen=True)
class Schedule:
    """Weights by frame, and which picture of a batch each frame sees, in one or two batches that fade."""

    weights: Weights
    first: tuple[int, ...] = ()
    second: tuple[int, ...] = ()

    def padded(self, before: int, after: int, pictures: int) -> Schedule:
        """With frames added at both ends: the first picture before, the last one after."""
        ends = (self.weights[0],) * before, (self.weights[-1],) * after
        rows = [(0,) * before + row + (pictures - 1,) * after if row else row for row in (self.first, self.second)]
        return Schedule(ends[0] + self.weights + ends[1], *rows)


def make_schedule(weights: Weights, pictures: int, method: Method) -> Schedule:
    """A list of weights for every picture, or for every change to the next. Raises IPAdapterError for too few."""
    if pictures == 0:
        return Schedule(weights)
    if method is not Method.FULL and pictures < 2:
        raise IPAdapterError(
            f"method '{method.value}' fades from each picture to the next, but image holds {pictures}: give two or "
            "more, or choose 'full batch'."
        )
    return METHODS[method](weights, pictures)


def one_by_one(weights: Weights, pictures: int) -> Schedule:
    return Schedule(weights * pictures, repeated(range(pictures), len(weights)))


def shifted(weights: Weights, pictures: int) -> Schedule:
    changes, frames = range(pictures - 1), len(weights)
    return Schedule(weights * (pictures - 1), repeated(changes, frames), repeated([i + 1 for i in changes], frames))


def alternated(weights: Weights, pictures: int) -> Schedule:
    """image_1 has the even pictures and image_2 the odd ones, so every other change runs backwards."""
    changes, frames = range(pictures - 1), len(weights)
    rows = [[i if i % 2 == parity else i + 1 for i in changes] for parity in (0, 1)]
    both = weights, mirrored(weights)
    return Schedule(sum((both[i % 2] for i in changes), ()), *(repeated(row, frames) for row in rows))


METHODS: dict[Method, Callable[[Weights, int], Schedule]] = {
    Method.FULL: one_by_one,
    Method.SHIFT: shifted,
    Method.ALTERNATE: alternated,
}


def mirrored(weights: Weights) -> Weights:
    """Upside down within their own range."""
    return tuple(max(weights) - (weight - min(weights)) for weight in weights)


def repeated(pictures: range | list[int], frames: int) -> tuple[int, ...]:
    """Each picture for as many frames."""
    return tuple(picture for picture in pictures for _ in range(frames))


def prompt_schedule(text: str, pictures: int, frames: int, before: int, after: int) -> str:
    """A line of text for each picture, as prompt schedulers read them: `"frame": "prompt",`.

    Too few lines: the last one is held. `frames` are those of one picture, `before` and `after` those added.
    """
    lines = [line for line in text.split("\n") if line.strip()][:pictures]
    if not lines:
        return ""
    lines += [lines[-1]] * (pictures - len(lines))
    starts = [(0, lines[0])] if before else []
    starts += [(picture * frames + before, line) for picture, line in enumerate(lines)]
    starts += [(pictures * frames + before, lines[-1])] if after else []
    return "".join(f'"{frame}": "{line}",\n' for frame, line in starts)
