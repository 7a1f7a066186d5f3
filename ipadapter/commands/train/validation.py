"""Pictures drawn as a run goes on, of references it does not learn from, and how near they come to them.

Every validation leaves a sheet and a line of `validation.jsonl`. None changes a number of the run, and one that fails
does not end it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from ...adapters.module import IPAdapter
from ...drawing.contact_sheet import draw_sheet, lay_out
from ...errors import IPAdapterError, sentence_of
from ...evaluation.judges import Judge, Scores
from ...evaluation.metrics import METRICS
from ...files.replacing import replacing
from .checkpoints import step_name
from .stopping import Stop
from .trackers import log_picture

OF_LAST_STEP, OF_AVERAGE = "the last step's", "their average"  # which weights are drawn with
CELL = 256  # pixels of a picture's long side on the sheet


@dataclass(frozen=True)
class Shot:
    """One picture that is drawn again and again."""

    reference: str  # its name
    caption: str
    seed: int
    row: int  # of the encoded references


@dataclass(frozen=True)
class Taken:
    """What became of a shot."""

    number: int
    picture: Image.Image
    scores: Scores


class ValidationStudio(Protocol):
    """Draws with weights that are being trained."""

    def drawing(self, weights: IPAdapter) -> AbstractContextManager[Callable[[Shot], Tensor]]:
        """Until the block ends, shots can be drawn, to latents; the run is left as it was."""

    def picture(self, latents: Tensor) -> Image.Image:
        """What the VAE makes of them."""

    def reference(self, shot: Shot) -> tuple[Image.Image, Tensor]:
        """The reference, to look at and to measure by, (1, H, W, 3)."""


@dataclass(frozen=True)
class ValidationLog:
    """`validation.jsonl`: a line for each, and none of a step that was lost."""

    path: Path

    def lines(self) -> list[dict[str, Any]]:
        """What is there; a last line that a killed run wrote in part does not count.

        Raises IPAdapterError where another program has written something else.
        """
        if not self.path.is_file():
            return []
        *whole, _ = self.path.read_bytes().split(b"\n")
        try:
            found = [json.loads(line) for line in whole]
            return [line for line in found if isinstance(line["step"], int)]
        except (ValueError, TypeError, KeyError) as error:
            raise IPAdapterError(
                f"'{self.path.name}' is no longer what the run wrote ({error}): put it back as it was, or remove it."
            ) from error

    def cut(self, step: int) -> None:
        """Keep the lines up to the step a run goes on from."""
        kept = [line for line in self.lines() if line["step"] <= step]
        if kept or self.path.exists():
            with replacing(self.path) as temporary:
                temporary.write_text("".join(map(json_line, kept)), encoding="utf-8")

    def add(self, line: Mapping[str, Any]) -> None:
        """Append. Raises OSError."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json_line(line))


def json_line(content: Mapping[str, Any]) -> str:
    """One line of the file."""
    return json.dumps(content, ensure_ascii=False) + "\n"


@dataclass
class Validation:
    """When what is drawn, and what came of it."""

    every: int
    shots: Sequence[Shot]
    studio: ValidationStudio
    judge: Judge | None  # None: pictures are only looked at
    folder: Path
    done: set[int] = field(default_factory=set)

    @property
    def log(self) -> ValidationLog:
        """The run's."""
        return ValidationLog(self.folder / "validation.jsonl")

    def begin(self, step: int, main: bool) -> None:
        """Go on at a step: what was lost is drawn again, what was not is not."""
        self.done = {line["step"] for line in self.log.lines() if line["step"] <= step}
        if main:
            self.log.cut(step)

    def is_due(self, step: int, steps: int) -> bool:
        """Whether pictures are wanted at a step: before the first, every so many, and after the last."""
        return (step % self.every == 0 or step == steps) and step not in self.done

    def at(self, step: int, weights: IPAdapter, which: str, accelerator: Any, stop: Stop) -> bool:
        """Draw, each process a part; whether it came to its end. A failure is written down, and said, and no more."""
        from accelerate.utils import gather_object

        numbers = range(accelerator.process_index, len(self.shots), accelerator.num_processes)
        taken: list[Taken] = []
        failed: list[str] = []
        try:
            taken = self.take(numbers, weights, stop)
        except Exception as error:  # whatever it is, the run is worth more
            failed = [one_sentence(error)]
        every, wrong = gather_object(taken), gather_object(failed)
        if not wrong and len(every) < len(self.shots):
            return False
        self.done.add(step)
        if accelerator.is_main_process:
            try:
                self.write(step, which, every, wrong, accelerator)
            except Exception as error:
                accelerator.print(f"the validation of step {step} could not be kept: {one_sentence(error)}")
        return True

    def take(self, numbers: Sequence[int], weights: IPAdapter, stop: Stop) -> list[Taken]:
        """Some shots, or fewer after the user has asked for an end. First all are drawn, then looked at: each of these
        needs another model on the device."""
        drawn: list[tuple[int, Tensor]] = []
        with self.studio.drawing(weights) as draw:
            for number in numbers:
                if stop.asked:
                    return []
                drawn.append((number, draw(self.shots[number])))
            pictures = [(number, self.studio.picture(latents)) for number, latents in drawn]
            return [Taken(number, picture, self.measure(self.shots[number], picture)) for number, picture in pictures]

    def measure(self, shot: Shot, picture: Image.Image) -> Scores:
        """How near a picture is to what it follows."""
        from ...host.pictures import from_pil

        if self.judge is None:
            return {}
        _, image = self.studio.reference(shot)
        return self.judge.against(image, [shot.caption] if shot.caption else [])(from_pil(picture))

    def write(self, step: int, which: str, taken: Sequence[Taken], wrong: Sequence[str], accelerator: Any) -> None:
        """The sheet, the line and the curves."""
        if wrong:
            self.log.add({"step": step, "failed": wrong[0]})
            accelerator.print(f"the validation of step {step} failed, and the run goes on: {wrong[0]}")
            return
        ordered = sorted(taken, key=lambda one: one.number)
        means = mean_scores([one.scores for one in ordered])
        sheet = self.sheet(ordered, f"Step {step}{in_words(means)}")
        with replacing(self.folder / "validation" / f"{step_name(step)}.png") as temporary:
            sheet.save(temporary, "PNG")
        self.log.add(self.line(step, which, ordered, means))
        accelerator.log({f"validation/{key}": mean for key, mean in means.items()}, step=step)
        log_picture(accelerator, "validation", sheet, step)

    def line(self, step: int, which: str, taken: Sequence[Taken], means: Scores) -> dict[str, Any]:
        """What is written down of one."""
        shots = [(self.shots[one.number], one.scores) for one in taken]
        return {
            "step": step,
            "weights": which,
            "measured_with": self.judge.label if self.judge else None,
            **means,
            "pictures": [
                {"reference": shot.reference, "prompt": shot.caption, "seed": shot.seed, **scores}
                for shot, scores in shots
            ],
        }

    def sheet(self, taken: Sequence[Taken], title: str) -> Image.Image:
        """A row for each reference, which stands at its head, a column for each prompt and seed."""
        rows = {shot.reference: shot for shot in self.shots}
        columns = [shot for shot in self.shots if shot.reference == self.shots[0].reference]
        labels = [column_label(shot, columns) for shot in columns]
        heads = [self.studio.reference(shot)[0] for shot in rows.values()]
        laid = lay_out([one.picture for one in taken], heads, len(columns), list(rows), labels, title)
        return draw_sheet(laid, CELL)


def column_label(shot: Shot, columns: Sequence[Shot]) -> str:
    """What tells a column from the others: its prompt where there are several, its seed where there are several."""
    prompts, seeds = ({getattr(one, name) for one in columns} for name in ("caption", "seed"))
    parts = [shot.caption or "no prompt"] * (len(prompts) > 1) + [f"seed {shot.seed}"] * (len(seeds) > 1)
    return ", ".join(parts)


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each metric over the pictures that have it."""
    found = {key: [one[key] for one in scores if key in one] for key in METRICS}
    return {key: sum(values) / len(values) for key, values in found.items() if values}


def in_words(means: Scores) -> str:
    """Means behind a title."""
    return "".join(f", {METRICS[key].label} {mean:.3f}" for key, mean in means.items())


def one_sentence(error: Exception) -> str:
    """The first line of what went wrong, with its kind where it is not meant for users."""
    said = (sentence_of(error).splitlines() or [""])[0]
    return said if isinstance(error, (IPAdapterError, OSError)) else f"{type(error).__name__}: {said}"
