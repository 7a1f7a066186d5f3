"""Many small runs of training, each in a process of its own, without importing everything in each: they are forked.

    python -m tests.host.forks

imports once what a run needs, and is asked for runs line by line: a module, and what its `asked` takes.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ipadapter.errors import IPAdapterError
from ipadapter.host.launch import start_host

# What a run imports by itself, once it comes to it.
IMPORTED = (
    "accelerate",
    "ipadapter.host.training.frozen",
    "ipadapter.host.training.models",
    "multiprocessing.synchronize",
    "torch.utils.serialization.config",
)
REFUSED = 3  # exit code of a run that ended with a sentence


def prepare() -> None:
    """Import all that a run needs. Nothing is computed here, or its threads would be missed in the forked processes."""
    torch.set_num_threads(1)
    start_host(["--cpu", "--use-pytorch-cross-attention"])
    for name in IMPORTED:
        importlib.import_module(name)
    Image.init()
    gc.disable()  # it would only copy what the processes share


@dataclass(frozen=True)
class Fork:
    """A process that does one thing."""

    process: int
    pipe: int

    @classmethod
    def doing(cls, action: Callable[[], Mapping[str, Any]], environment: Mapping[str, str] | None = None) -> Fork:
        """Begin, with variables of the environment set."""
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            os.environ.update(environment or {})
            carry_out_and_tell(action, writing)
        os.close(writing)
        return cls(process, reading)

    def end(self) -> dict[str, Any]:
        """What it told, and the signal or code it ended with."""
        with os.fdopen(self.pipe, "rb") as pipe:
            told = json.loads(pipe.read() or b"{}")
        return told | {"code": os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])}


def carry_out_and_tell(action: Callable[[], Mapping[str, Any]], pipe: int) -> None:
    """In the forked process, which ends here."""
    try:
        told, code = dict(action()), 0
    except IPAdapterError as error:
        told, code = {"sentence": str(error)}, REFUSED
    except BaseException as error:  # told to the test, which fails on it
        told, code = {"error": f"{type(error).__name__}: {error}"}, 1
    os.write(pipe, json.dumps(told).encode())
    os._exit(code)


@dataclass(frozen=True)
class Forker:
    """The process above, as those see it who ask."""

    process: subprocess.Popen[str]
    log: Path

    def ask(self, module: str, *asked: Any) -> Any:
        """What a module of this folder makes of it there."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([f"{__package__}.{module}", asked]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.log.read_text()
        return json.loads(answer)


@contextmanager
def forking(root: Path, log: Path, environment: Mapping[str, str]) -> Iterator[Forker]:
    """Start it in a folder, and end it in every case."""
    command = (sys.executable, "-m", __name__)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=root, env=environment, text=True, stderr=errors, **pipes)
    try:
        yield Forker(process, log)
    finally:
        process.communicate()


def main() -> None:
    prepare()
    for line in sys.stdin:
        module, asked = json.loads(line)
        print(json.dumps(importlib.import_module(module).asked(*asked)), flush=True)


if __name__ == "__main__":
    main()
