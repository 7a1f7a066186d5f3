"""What the files of a folder were found to be, remembered as long as a file stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import IPAdapterError
from ..progress import Progress

Fact = TypeVar("Fact")
SHOWN = 6  # files a sentence names


@dataclass(frozen=True)
class ListedFile:
    """A file as a folder lists it: what has to stay the same for what is known of it to hold."""

    name: str
    path: Path
    size: int  # bytes
    changed: int  # nanoseconds


@dataclass(frozen=True)
class Useless:
    """A file that is nothing of use, and why, in a few words that follow its name."""

    reason: str


@dataclass(frozen=True)
class Survey(Generic[Fact]):
    """What is in the folders: files with what they are, and names with why they are nothing of use."""

    found: tuple[tuple[ListedFile, Fact], ...]
    useless: tuple[tuple[str, str], ...]


class Catalogue(Generic[Fact]):
    """Facts of files by path, size and time. `read` opens a file, and raises IPAdapterError for a useless one."""

    def __init__(self, read: Callable[[Path, str], Fact]) -> None:
        self.read = read
        self.known: dict[ListedFile, Fact | Useless] = {}

    def survey(self, files: Sequence[ListedFile], progress: Progress) -> Survey[Fact]:
        """What these files are; those that are not known are opened, those that are gone are forgotten."""
        known = {}
        for done, file in enumerate(files):
            known[file] = self.known[file] if file in self.known else self.look(file)
            progress(done + 1, len(files))
        self.known = known
        useless = tuple((file.name, fact.reason) for file, fact in known.items() if isinstance(fact, Useless))
        found = tuple((file, fact) for file, fact in known.items() if not isinstance(fact, Useless))
        return Survey(found, useless)

    def look(self, file: ListedFile) -> Fact | Useless:
        """Open one file."""
        try:
            return self.read(file.path, file.name)
        except IPAdapterError as error:
            return Useless(in_short(str(error), file.name))


def in_short(sentence: str, name: str) -> str:
    """The point of an error sentence about a file, to be read after the file's name."""
    rest = sentence.removeprefix(f"'{name}'").strip(": ")
    return rest.partition(": ")[0].partition("; ")[0].partition(", so ")[0].rstrip(".")


def listed(objections: Sequence[tuple[str, str]], searched: Sequence[str]) -> str:
    """What was searched, and why each file that was found is not the one."""
    files = [f"'{name}' {reason}" for name, reason in objections[:SHOWN]]
    more = [f"{len(objections) - SHOWN} more do not fit either"] if len(objections) > SHOWN else []
    return f"Searched: {', '.join(searched)}; found: {', '.join(files + more) or 'no files'}."
