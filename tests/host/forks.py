"""Many small runs of training, each in a process of its own, without importing everything in each: they are forked.

The process that forks them is forked itself, from that of the tests before anything is computed there. It imports what
a run needs besides, and is asked for runs line by line: a module, and what its `asked` takes.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TextIO

import torch
from PIL import Image

from ipadapter.errors import IPAdapterError

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
    for name in IMPORTED:
        importlib.import_module(name)
    Image.init()


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
    """The process above, as those see it who ask. It ends with theirs."""

    asking: TextIO
    answers: TextIO

    @classmethod
    def begin(cls) -> Forker:
        """Fork it."""
        (asked, asking), (answered, answers) = os.pipe(), os.pipe()
        if os.fork() == 0:
            os.close(asking)
            os.close(answered)
            answer_all(os.fdopen(asked), os.fdopen(answers, "w"))
        os.close(asked)
        os.close(answers)
        return cls(os.fdopen(asking, "w"), os.fdopen(answered))

    def ask(self, module: str, *asked: Any) -> Any:
        """What a module of this folder makes of it there."""
        print(json.dumps([f"{__package__}.{module}", asked]), file=self.asking, flush=True)
        answer = self.answers.readline()
        assert answer, "the process that forks has ended"
        made, failure = json.loads(answer)
        assert not failure, failure
        return made


def answer_all(asked: TextIO, answers: TextIO) -> NoReturn:
    """In the forked process, which ends here: until nobody can ask any more."""
    gc.disable()  # it would only copy what the processes share
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream, way in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, way), stream)
    for line in asked:
        print(json.dumps(answer(*json.loads(line))), file=answers, flush=True)
    os._exit(0)


def answer(module: str, asked: list[Any]) -> tuple[Any, str]:
    """What was made, and why nothing was."""
    try:
        prepare()
        return importlib.import_module(module).asked(*asked), ""
    except BaseException:  # told to the test, which fails on it
        return None, traceback.format_exc()
