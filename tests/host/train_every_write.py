"""A small training run that is killed, or finds the disk full, at every single write, and is then run again.

What a kill leaves is the folder as it is at that moment: one run copies it before each of its writes. Python's own
writes are seen by its audit hook; safetensors and torch write from native code, which is wrapped, and leaves half of a
file too.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from tests.host.forks import Fork
from tests.host.train_cli_world import Job, base_on_the_cpu, carry_out

WRITES = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
NEEDS_ROOM = ("open", "os.mkdir", "native", "half")


@dataclass
class Writes:
    """Those below a folder. The folder is kept as it is before each, or none succeeds from the `full_at`-th on."""

    folder: Path
    kept: Path | None
    full_at: int
    seen: list[str] = field(default_factory=list)

    def meet(self, event: str, path: object, error: Callable[[], Exception]) -> None:
        if not str(path).startswith(str(self.folder)):
            return
        self.seen.append(event)
        if self.kept is not None and self.folder.is_dir():
            self.keep(self.kept / str(len(self.seen)), Path(str(path)) if event == "half" else None)
        if 0 < self.full_at <= len(self.seen) and event in NEEDS_ROOM:
            raise error()

    def keep(self, place: Path, half: Path | None) -> None:
        """A copy, in which half of a file has been written."""
        shutil.copytree(self.folder, place)
        if half is not None and half.is_file():
            os.truncate(place / half.relative_to(self.folder), half.stat().st_size // 2)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """The interpreter's audit."""
        if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITES):
            self.meet(event, args[0], no_room)

    def wrap(self, write: Callable[..., Any], path_at: int, error: Callable[[], Exception]) -> Callable[..., Any]:
        """A native writer, met before it and with half of its file."""

        def writes(*args: Any, **kwargs: Any) -> Any:
            path = args[path_at]
            self.meet("native", path, error)
            made = write(*args, **kwargs)
            self.meet("half", path, error)
            return made

        return writes


def no_room() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def watched(job: Job, kept: Path | None, full_at: int) -> list[str]:
    """The run, and which writes there were."""
    writes = Writes(Path(job.folder), kept, full_at)
    safetensors.torch.serialize_file = writes.wrap(
        safetensors.torch.serialize_file, 1, lambda: SafetensorError("Error while serializing: I/O error")
    )
    torch.save = writes.wrap(torch.save, 1, lambda: RuntimeError("PytorchStreamWriter failed writing file"))
    sys.addaudithook(writes.hear)
    carry_out(job)
    return writes.seen


def in_a_process(job: Job, kept: Path | None = None, full_at: int = 0) -> dict[str, Any]:
    """How a run ended: by which signal or code, with which writes, or with what sentence."""
    return Fork.doing(lambda: {"writes": watched(job, kept, full_at)}).end()


def every_write(job: Job) -> Iterator[dict[str, Any]]:
    """For each write and each trouble: how the same command ended after it, and a run that found the disk full."""
    place = Path(job.folder).parent
    whole = in_a_process(job, place / "killed")
    yield whole
    for at, write in enumerate(whole["writes"], 1):
        if (place / "killed" / str(at)).is_dir():
            (place / "killed" / str(at)).rename(place / "troubled")
        yield {"at": at, "first": None, **again(replace(job, folder=str(place / "troubled")))}
        if write in NEEDS_ROOM:
            one = replace(job, folder=str(place / "troubled"))
            yield {"at": at, "first": in_a_process(one, full_at=at), **again(one)}


def again(job: Job) -> dict[str, Any]:
    """How the command ended, and what it left."""
    folder, ended = Path(job.folder), in_a_process(job)
    left = results(folder) if ended["code"] == 0 else {}
    shutil.rmtree(folder)
    return {"again": ended, **left}


def results(folder: Path) -> dict[str, Any]:
    """What a run left: its numbers, and the names of everything."""
    tensors = safetensors.torch.load_file(folder / "ip-adapter.safetensors")
    return {
        "weights": {key: tensor.double().sum().item() for key, tensor in tensors.items()},
        "losses": [line.split(",")[:2] for line in (folder / "loss.csv").read_text().splitlines()],
        "names": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()),
    }


def asked(data: str, folder: str) -> list[dict[str, Any]]:
    """The run as it is, and then each that met with trouble."""
    (Path(folder) / "killed").mkdir(parents=True)
    job = Job(data, str(Path(folder) / "whole"), steps=2, checkpoint_every=1, keep=1)
    base_on_the_cpu(job.kind)
    whole, *others = every_write(job)
    return [whole | results(Path(job.folder)), *others]
