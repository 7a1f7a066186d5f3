"""A small training run, divided into micro-batches and processes in one way and gone on with in every other.

It leaves a folder for each unbroken run, `1x4x1`, and for each that was stopped and gone on with, `1x4x1-2x1x2`:
examples of a micro-batch, micro-batches of a step, processes.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.host.forks import Fork
from tests.host.train_cli_world import Job, base_on_the_cpu, carry_out

STEPS, STOPPED_AT = 5, 3


@dataclass(frozen=True)
class Division:
    """How the examples of a step are divided."""

    batch_size: int
    grad_accumulation: int
    processes: int

    def __str__(self) -> str:
        return f"{self.batch_size}x{self.grad_accumulation}x{self.processes}"

    def job(self, data: str, folder: Path) -> Job:
        return Job(data, str(folder), STEPS, self.batch_size, self.grad_accumulation, checkpoint_every=9)


DIVISIONS = tuple(Division(*parts) for parts in ((4, 1, 1), (2, 2, 1), (1, 4, 1), (2, 1, 2), (1, 2, 2), (1, 1, 4)))


def run(job: Job, processes: int) -> None:
    """All processes of a run, as a launcher starts them."""
    base_on_the_cpu(job.kind)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    forks = [Fork.doing(lambda: {"step": carry_out(job)}, launched(rank, processes, port)) for rank in range(processes)]
    ended = [fork.end() for fork in forks]
    if any(one["code"] for one in ended):
        raise SystemExit(f"{job.folder}: {ended}")


def launched(rank: int, processes: int, port: str) -> dict[str, str]:
    """What torch.distributed.run says to each process; nothing to one alone."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    told = {name: str(number) for name, number in ranks.items()} | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return told if processes > 1 else {}


def every_division(data: str, folder: Path) -> Iterator[str]:
    """The names of the runs as they end."""
    for one in DIVISIONS:
        whole = one.job(data, folder / str(one))
        run(whole, one.processes)
        yield str(one)
        stopped = replace(whole, folder=str(folder / "stopped"), terminate_at=STOPPED_AT)
        run(stopped, one.processes)
        for other in DIVISIONS:
            name = f"{one}-{other}"
            shutil.copytree(stopped.folder, folder / name)
            run(other.job(data, folder / name), other.processes)
            yield name
        shutil.rmtree(stopped.folder)


def asked(data: str, folder: str) -> list[str]:
    """The names of all runs."""
    Path(folder).mkdir()
    return list(every_division(data, Path(folder)))
