"""What an image prompt costs in a compiled step: the host's TorchCompileModel around the bare model and this pack's."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from comfy_extras.nodes_torch_compile import TorchCompileModel
from torch._dynamo.exc import BackendCompilerFailed

from tools.bench.measure import TIMED_STEPS, Bench, TimedStep, contestants, ratio_row, say, tidy
from tools.bench.models import Model
from tools.bench.report import Row
from tools.bench.timing import alternate

BACKEND = "inductor"
BUDGET = 300.0  # seconds that all compiling may take; what is not done by then has no row
AGAIN = 1.0  # seconds until it is stopped again: what is raised while an object is being destroyed is lost


class TooLongError(BaseException):
    """Compiling took all the time there was. No Exception, so that no compiler takes it for a failure of its own."""


def compiled_rows(bench: Bench) -> Iterator[Row]:
    """A row for each step that is compiled in time."""
    end = time.monotonic() + BUDGET
    for step in TIMED_STEPS[bench.device.type]:
        say(f"Compiling and timing {step.rounds} steps each of {step.subject}")
        yield from compiled_row(bench, step, end - time.monotonic())
        torch._dynamo.reset()
        tidy()


def compiled_row(bench: Bench, step: TimedStep, seconds: float) -> Iterator[Row]:
    """The row of one step; none where it is not compiled by then."""
    models, call = contestants(bench, step)
    try:
        works = compiled(models, call, seconds)
    except (TooLongError, BackendCompilerFailed) as error:
        say(f"{step.subject} has no compiled step: {error}")
        return
    yield ratio_row(
        step, "time of a compiled step, as a ratio to the bare model's", alternate(works, step.rounds, bench.device)
    )


def compiled(
    models: Sequence[Model], call: Callable[[Model], object], seconds: float, backend: str = BACKEND
) -> list[Callable[[], object]]:
    """Calls of the models, compiled. Raises TooLongError when the time is over."""
    works: list[Callable[[], object]] = [
        partial(call, TorchCompileModel.execute(model, backend).result[0]) for model in models
    ]
    with at_most(seconds):
        for work in works:
            work()
    return works


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooLongError in the block when so much time is over, at its end at the latest."""
    end = time.monotonic() + seconds

    def stop(*_: object) -> None:
        raise TooLongError(f"compiling takes more than is left of {BUDGET:.0f} s")

    if seconds <= 0:
        stop()
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if time.monotonic() > end:
        stop()
