"""A real ComfyUI in this process, for programs on the command line: its loaders and memory management, no server."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import IPAdapterError

PACK_ROOT = Path(__file__).resolve().parents[2]
COMFYUI_MARKS = ("comfy/cli_args.py", "folder_paths.py")  # files that tell ComfyUI's folder
INSTALL_ADVICE = "set COMFYUI_PATH to ComfyUI's folder (the one with main.py), or keep this pack in its custom_nodes."


def find_host(given: Path | None = None) -> Path:
    """ComfyUI's folder: the given one, COMFYUI_PATH's, or the one whose custom_nodes this pack lies in."""
    named = given or os.environ.get("COMFYUI_PATH")
    folder = Path(named).expanduser().resolve() if named else PACK_ROOT.parent.parent
    if all((folder / mark).is_file() for mark in COMFYUI_MARKS):
        return folder
    raise IPAdapterError(
        f"'{folder}' is not ComfyUI: {INSTALL_ADVICE}" if named else f"ComfyUI was not found: {INSTALL_ADVICE}"
    )


def has_accelerator() -> bool:
    """Whether torch sees a device other than the CPU."""
    import torch

    return torch.accelerator.is_available()


def on_cpu(options: Sequence[str]) -> bool:
    """Whether ComfyUI will run on the CPU: because it is told to, or because there is nothing else."""
    return "--cpu" in options or not has_accelerator()


def is_running() -> bool:
    """Whether this process has a ComfyUI already."""
    return "comfy.cli_args" in sys.modules


def start_host(options: Sequence[str] = (), given: Path | None = None) -> None:
    """Make ComfyUI importable, with the options of its own command line. Once in a process: a second call does nothing.

    Models keep to ComfyUI's ordinary memory management, for weights that come and go cannot be trained against.
    """
    if is_running():
        return
    sys.path.insert(0, str(find_host(given)))
    importlib.import_module("comfy.options").enable_args_parsing()
    wanted = list(options) if not on_cpu(options) else list(dict.fromkeys([*options, "--cpu"]))
    argv, sys.argv = sys.argv, ["main.py", *wanted]
    try:
        importlib.import_module("comfy.cli_args")
    except SystemExit as error:
        raise IPAdapterError(
            f"ComfyUI does not take the options {' '.join(wanted)}: see its main.py --help."
        ) from error
    finally:
        sys.argv = argv
