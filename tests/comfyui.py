"""The real ComfyUI in the process of the tests, for every layer but the plain one."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

HOST = Path(os.environ.get("COMFYUI_PATH") or Path(__file__).resolve().parent.parent / ".host" / "ComfyUI")


def start_host() -> None:
    """Put the host first on the path and parse its options as its own `main.py` would, on the CPU. Once a process."""
    if "comfy.cli_args" in sys.modules:
        return
    sys.path[:0] = [str(HOST)]
    importlib.import_module("comfy.options").enable_args_parsing()
    argv, sys.argv = sys.argv, ["main.py", "--cpu", "--use-pytorch-cross-attention"]
    try:
        importlib.import_module("comfy.cli_args")
    finally:
        sys.argv = argv
