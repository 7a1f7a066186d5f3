"""Many small runs of training, each in a process of its own, without importing everything in each: they are forked."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ipadapter.errors import IPAdapterError
from ipadapter.host.launch import start_host

# What a run imports by itself, once it comes to it.
IMPORTED = (
    "accelerate",
    "ipadapter.host.training.frozen",
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
