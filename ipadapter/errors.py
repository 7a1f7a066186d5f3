"""The one exception the pack raises for what a user gave it."""

from __future__ import annotations

from collections.abc import Callable


class IPAdapterError(ValueError):
    """A sentence for the person at the graph: what was given, what does not fit, what would."""

    # The host shows a class's whole name before its sentence: its module too, which is where the pack is installed.
    __module__ = "builtins"

    def __init_subclass__(cls) -> None:
        cls.__module__, cls.__qualname__ = IPAdapterError.__module__, IPAdapterError.__qualname__

    def __reduce__(self) -> tuple[Callable[..., IPAdapterError], tuple[object, ...]]:
        """For another process, which would not find the class where it says it is."""
        return said_again, self.args


def said_again(*words: object) -> IPAdapterError:
    """A refusal that comes from another process."""
    return IPAdapterError(*words)


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
