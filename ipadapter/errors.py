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
