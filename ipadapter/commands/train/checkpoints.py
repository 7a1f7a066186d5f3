"""Checkpoints of a run: folders that are complete or not there.

Each holds accelerate's state (weights, optimizer), the adapter as a file that is ready for use, and `training.json`.
It is written under another name and renamed at the end, so whenever a run is killed the newest complete one stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ...errors import IPAdapterError

NAME = re.compile(r"step-(\d+)")
UNFINISHED = ".unfinished"
FACTS = "training.json"


@dataclass(frozen=True)
class RunCheckpoint:
    """A complete one."""

    folder: Path
    step: int

    @property
    def facts(self) -> dict[str, Any]:
        """The settings it was made with. Raises IPAdapterError where they cannot be read."""
        try:
            facts: dict[str, Any] = json.loads((self.folder / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self.damaged(str(error)) from error
        return facts

    def damaged(self, why: str) -> IPAdapterError:
        """The refusal of one that something other than this program has changed."""
        return IPAdapterError(
            f"the checkpoint '{self.folder}' is damaged ({why}): delete it, and the one before it is used."
        )


@dataclass(frozen=True)
class Checkpoints:
    """All of a run's, of which the newest `keep` stay."""

    folder: Path
    keep: int

    def complete(self) -> list[RunCheckpoint]:
        """The oldest first."""
        folders = self.folder.iterdir() if self.folder.is_dir() else iter(())
        named = [(path, NAME.fullmatch(path.name)) for path in folders if (path / FACTS).is_file()]
        found = [RunCheckpoint(path, int(match[1])) for path, match in named if match]
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def newest(self) -> RunCheckpoint | None:
        """The one to go on from."""
        found = self.complete()
        return found[-1] if found else None

    def place(self, step: int) -> Path:
        """Where a complete one is."""
        return self.folder / step_name(step)

    def begin(self, step: int) -> Path:
        """An empty folder to write into; what a killed run left half done is cleared away."""
        with self.telling(step):
            for left in self.folder.glob(f"*{UNFINISHED}"):
                shutil.rmtree(left)
            unfinished = self.unfinished(step)
            unfinished.mkdir(parents=True)
        return unfinished

    def unfinished(self, step: int) -> Path:
        """Where one is written."""
        return self.folder / (step_name(step) + UNFINISHED)

    def finish(self, step: int, facts: dict[str, Any]) -> RunCheckpoint:
        """All is written: give it its name, and remove those that are too old."""
        unfinished, place = self.unfinished(step), self.place(step)
        with self.telling(step):
            (unfinished / FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")
            for path in (*unfinished.iterdir(), unfinished):
                to_disk(path)
            if place.exists():
                shutil.rmtree(place)
            unfinished.rename(place)
            to_disk(self.folder)
        for old in self.complete()[: -self.keep]:
            shutil.rmtree(old.folder, ignore_errors=True)
        return RunCheckpoint(place, step)

    @contextlib.contextmanager
    def telling(self, step: int) -> Iterator[None]:
        """Say in a sentence what a disk that is full, or gone, means for the run; remove what was half written."""
        try:
            yield
        except (OSError, RuntimeError, SafetensorError, IPAdapterError) as error:  # of each writer
            shutil.rmtree(self.unfinished(step), ignore_errors=True)
            raise IPAdapterError(self.failure(step, error)) from error

    def failure(self, step: int, error: Exception) -> str:
        """The sentence."""
        last = self.newest()
        kept = f"the checkpoint of step {last.step} is unchanged" if last else "there is no earlier checkpoint"
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        return (
            f"the checkpoint of step {step} could not be written to '{self.folder}' ({reason}); {kept}. Make room and "
            "run the same command to go on."
        )


def step_name(step: int) -> str:
    """`step-000100`"""
    return f"step-{step:06d}"


def to_disk(path: Path) -> None:
    """Have the system write what it has only in memory. Folders cannot be on every system, which is no harm."""
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
