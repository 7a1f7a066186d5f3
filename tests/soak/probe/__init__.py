"""What a server holds, and what the pack in it has reached for, told by itself: a package of nodes without nodes.

`/probe/loaded` tells the models that the host has not let go of, and has to be asked before `/probe/held`: collecting
garbage while the host goes through its list of them takes entries from under it. `/probe/reached` lists what the pack
did that it promises not to do, as the interpreter's own audit tells it; files that native code opens are not in it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import psutil
import torch
from aiohttp import web
from comfy.model_patcher import ModelPatcher
from server import PromptServer

NODE_CLASS_MAPPINGS: dict[str, type] = {}
PACK = os.path.join("custom_nodes", "image-prompt-adapter", "")  # in the path of each of its files
DIRECTORIES = ("output", "temp", "input", "user")
FOLDERS = tuple(os.path.realpath(getattr(folder_paths, f"get_{name}_directory")()) for name in DIRECTORIES)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


@PromptServer.instance.routes.get("/probe/loaded")
async def loaded(request: web.Request) -> web.Response:
    """What the host has not let go of."""
    return web.json_response([described(model) for model in comfy.model_management.current_loaded_models])


def described(loaded: comfy.model_management.LoadedModel) -> str:
    """A model's class; one without its patcher is kept by something else."""
    model = loaded.real_model and loaded.real_model()
    return f"{type(model).__name__}{'' if loaded.model else ' without a patcher'}"


@PromptServer.instance.routes.get("/probe/held")
async def held(request: web.Request) -> web.Response:
    """Counts of what must not grow."""
    gc.collect()
    give_back()
    process = psutil.Process()
    objects = [type(found) for found in gc.get_objects()]
    return web.json_response(
        {
            "tensors": sum(issubclass(kind, torch.Tensor) for kind in objects),
            "models": sum(issubclass(kind, ModelPatcher) for kind in objects),
            "threads": threading.active_count(),
            "files": process.num_handles() if sys.platform == "win32" else process.num_fds(),
            "objects": sys.getallocatedblocks(),
            "megabytes": in_use(process) / 2**20,
            "resident": process.memory_info().rss / 2**20,
        }
    )


class Account(ctypes.Structure):
    """What glibc's mallinfo2 tells, in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "top",
        )
    ]


LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None
MALLINFO = getattr(LIBRARY, "mallinfo2", None)  # from glibc 2.33 on
if MALLINFO is not None:
    MALLINFO.restype = Account


def in_use(process: psutil.Process) -> int:
    """Bytes that native code has asked for and not given back.

    What is resident goes up and down by a tenth with what the system takes away and the allocator keeps.
    """
    if MALLINFO is None:
        return int(process.memory_full_info().uss)
    account = MALLINFO()
    return int(account.uordblks + account.hblkhd)


def give_back() -> None:
    """Have glibc return what is free to the system, which it otherwise keeps."""
    if hasattr(LIBRARY, "malloc_trim"):
        LIBRARY.malloc_trim(0)


# What the pack reaches for

reached: list[str] = []


@PromptServer.instance.routes.get("/probe/reached")
async def told(request: web.Request) -> web.Response:
    """Everything outside, that the pack or what it called asked for."""
    return web.json_response(reached)


def is_outside(path: Any) -> bool:
    """Whether a path is in none of the host's folders."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False  # a file that is open already
    real = Path(os.path.realpath(os.fsdecode(path)))
    is_allowed = is_compiled(real) or any(real.is_relative_to(folder) for folder in FOLDERS)
    return str(real) != os.devnull and not is_allowed


def is_compiled(path: Path) -> bool:
    """Whether a file or folder is of what Python keeps of its own, beside the sources or where it was told to."""
    return "__pycache__" in path.parts or bool(sys.pycache_prefix and path.is_relative_to(sys.pycache_prefix))


def written(arguments: tuple[Any, ...]) -> str | None:
    path, mode, flags = arguments
    writes = bool(flags & WRITES) if mode is None else bool(set("wax+") & set(mode))
    return f"wrote {path}" if writes and is_outside(path) else None


def changed(arguments: tuple[Any, ...]) -> str | None:
    outside = [path for path in arguments[:2] if is_outside(path)]
    return f"changed {outside[0]}" if outside else None


def connected(arguments: tuple[Any, ...]) -> str | None:
    return f"connected to {arguments[1]}"


AUDITED: Mapping[str, Callable[[tuple[Any, ...]], str | None]] = {
    "open": written,
    "os.mkdir": changed,
    "os.remove": changed,
    "os.rename": changed,
    "os.symlink": changed,
    "socket.connect": connected,
    "socket.getaddrinfo": lambda arguments: f"asked for the address of {arguments[0]}",
    "subprocess.Popen": lambda arguments: f"started {arguments[0]}",
    "os.system": lambda arguments: f"started {arguments[0]}",
    "pickle.find_class": lambda arguments: f"took {arguments[0]}.{arguments[1]} from a pickle",
}


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Write down what is outside, where the pack is on the way to it."""
    if event in AUDITED and (said := AUDITED[event](arguments)) and is_at_work(PACK):
        reached.append(said)


def is_at_work(pack: str) -> bool:
    """Whether a function of the pack is among the callers."""
    frame = sys._getframe()
    while frame is not None:
        if pack in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


sys.addaudithook(audit)
