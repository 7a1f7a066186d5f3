"""Ctrl-C and SIGTERM: remembered until the step at hand is done."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_ASKING = 3.0  # seconds: a terminal and a launcher pass the same Ctrl-C on, one after the other


class Stop:
    """Whether the user, or the machine, has asked for an end. Asking again ends at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.since = 0.0

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Take the signals until the block ends."""
        before = {number: signal.signal(number, self.hear) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if not self.asked:
            self.signal, self.since = number, time.monotonic()
        elif time.monotonic() - self.since > ONE_ASKING:
            raise KeyboardInterrupt
