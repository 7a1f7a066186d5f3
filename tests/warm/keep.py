"""The process that others are forked from: it waits at a socket for programs, until its standard input closes."""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

# What ComfyUI and the commands import of other packages. Nothing of ComfyUI itself: it reads its arguments as it is.
IMPORTED = (
    "accelerate",
    "aiohttp",
    "alembic.command",
    "av",
    "comfy_kitchen",
    "kornia",
    "open_clip",
    "scipy.stats",
    "spandrel",
    "sqlalchemy.orm",
    "torch._dynamo",
    "torchaudio",
    "torchsde",
    "torchvision.transforms",
    "transformers",
)


def prepare() -> None:
    """Import; nothing is computed here, or its threads would be missed in the forked processes."""
    for name in IMPORTED:
        with suppress(ImportError):  # hosts differ in what they need
            importlib.import_module(name)
    gc.freeze()  # nor looked through again in each of them


def main(place: str) -> None:
    prepare()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has ended is nobody's to wait for
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen()
        print("ready", flush=True)
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    listening.close()
                    return carry_out(connection)


def carry_out(connection: socket.socket) -> None:
    """Run what is asked for in a process of its own, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as said:
        asked = json.loads(said.readline())
    process = os.fork()
    if process == 0:
        connection.close()
        return become(asked, streams)
    for stream in streams:
        os.close(stream)
    threading.Thread(target=end_with, args=(connection, process), daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with suppress(OSError):  # who asked may have been killed
        connection.sendall(str(code).encode())
    os._exit(0)


def end_with(connection: socket.socket, process: int) -> None:
    """Who asked says nothing more: what comes is its end."""
    with suppress(OSError):
        connection.recv(1)
        os.kill(process, signal.SIGKILL)


def become(asked: dict[str, Any], streams: list[int]) -> None:
    """Run a program to its end in this process."""
    with suppress(PermissionError):  # of another session
        os.setpgid(0, asked["group"])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.stdout.reconfigure(line_buffering=True)
    more = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    run([*more, *sys.path[1:]], *asked["program"])


def run(paths: list[str], first: str, *arguments: str) -> None:
    """A script, or a module after `-m`, as Python's own command line does."""
    if first == "-m":
        sys.path[:], sys.argv[:] = [os.getcwd(), *paths], list(arguments)
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[:], sys.argv[:] = [os.path.dirname(os.path.abspath(first)), *paths], [first, *arguments]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
