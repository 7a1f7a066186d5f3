"""Old nodes' weights by frame over a batch of pictures: which pictures a frame sees, and how they fade.

A list of weights serves one picture, or one change from a picture to the next, and is repeated for as many as there
are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from ..errors import IPAdapterError
from ..prompts.weights import Weights


class Method(str, Enum):
    """What a batch of pictures becomes."""

    FULL = "full batch"  # one after another
    SHIFT = "shift batches"  # each fades to the next, image_1 to image_2
    ALTERNATE = "alternate batches"  # the same, and a picture stays in its batch until it has faded


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
    return SCHEDULE_METHODS[method](weights, pictures)


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


SCHEDULE_METHODS: dict[Method, Callable[[Weights, int], Schedule]] = {
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
