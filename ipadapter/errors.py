"""The one exception the pack raises for what a user gave it."""

from __future__ import annotations

from collections.abc import Callable


class IPAdapterError(ValueError):
    """A sentence for the person at the graph: what was given, what does not fit, what would."""


def refusal(attempt: Callable[[], object]) -> str | None:
    """The sentence with which something refuses, or None where it does not."""
    try:
        attempt()
    except IPAdapterError as error:
        return str(error)
    return None


def sentence_of(error: Exception) -> str:
    """What went wrong; of the system's own errors the reason, and the file where they name it."""
    if not isinstance(error, OSError):
        return str(error)
    where = "a file" if error.filename is None else f"'{error.filename}'"
    return f"{where} cannot be used: {error.strerror or error}."
