"""A small training run that is killed, or finds the disk full, at every single write, and is then run again.

Python's own writes are seen by its audit hook; safetensors and torch write from native code, which is wrapped, and
leaves half of a file too.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from tests.host.forks import Fork
from tests.host.train_cli_world import Job, carry_out

WRITES = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
NEEDS_ROOM = ("open", "os.mkdir", "native", "half")


@dataclass
class Trouble:
    """Ends the process at its `at`-th write below a folder, or lets no write succeed from it on."""

    folder: str
    at: int
    full: bool
    seen: list[str] = field(default_factory=list)

    def meet(self, event: str, path: object, error: Callable[[], Exception]) -> None:
        if not str(path).startswith(self.folder):
            return
        self.seen.append(event)
        if len(self.seen) == self.at and not self.full:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.full and len(self.seen) >= self.at and event in NEEDS_ROOM:
            raise error()

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """The interpreter's audit."""
        if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITES):
            self.meet(event, args[0], no_room)

    def wrap(self, write: Callable[..., Any], path_at: int, error: Callable[[], Exception]) -> Callable[..., Any]:
        """A native writer: trouble before it, and after it with half of its file."""

        def writes(*args: Any, **kwargs: Any) -> Any:
            path = args[path_at]
            self.meet("native", path, error)
            made = write(*args, **kwargs)
            if os.path.isfile(path) and len(self.seen) + 1 == self.at and not self.full:
                os.truncate(path, os.path.getsize(path) // 2)
            self.meet("half", path, error)
            return made

        return writes


def no_room() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def troubled(job: Job, at: int, full: bool) -> list[str]:
    """The run, with trouble at a write; which writes there were."""
    trouble = Trouble(str(Path(job.folder)), at, full)
    safetensors.torch.serialize_file = trouble.wrap(
        safetensors.torch.serialize_file, 1, lambda: SafetensorError("Error while serializing: I/O error")
    )
    torch.save = trouble.wrap(torch.save, 1, lambda: RuntimeError("PytorchStreamWriter failed writing file"))
    sys.addaudithook(trouble.hear)
    carry_out(job)
    return trouble.seen


def in_a_process(job: Job, at: int = 0, full: bool = False) -> dict[str, Any]:
    """How a run ended: by which signal or code, with which writes, or with what sentence."""
    return Fork.doing(lambda: {"writes": troubled(job, at, full)}).end()


def every_write(job: Job) -> Iterator[dict[str, Any]]:
    """For each write and each trouble: how the run ended, and how the same command ended after it."""
    whole = in_a_process(job)
    yield whole
    killed = [(at, False) for at in range(1, len(whole["writes"]) + 1)]
    starved = [(at, True) for at, write in enumerate(whole["writes"], 1) if write in NEEDS_ROOM]
    for at, full in killed + starved:
        folder = Path(job.folder).parent / "troubled"
        one = replace(job, folder=str(folder))
        first, again = in_a_process(one, at, full), in_a_process(one)
        yield {"at": at, "full": full, "first": first, "again": again, **results(folder)}
        shutil.rmtree(folder)


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
    Path(folder).mkdir()
    job = Job(data, str(Path(folder) / "whole"), steps=2, checkpoint_every=1, keep=1)
    whole, *others = every_write(job)
    return [whole | results(Path(job.folder)), *others]
