"""The host in this process: on its path, with the options of its own `main.py --cpu`."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def start_host() -> None:
    """Make the host importable and parse its options; nothing happens where a host is running already."""
    if "comfy.cli_args" in sys.modules:
        return
    sys.path[:0] = [os.environ.get("COMFYUI_PATH", str(ROOT / ".host" / "ComfyUI"))]
    importlib.import_module("comfy.options").enable_args_parsing()
    argv, sys.argv = sys.argv, ["main.py", "--cpu", "--use-pytorch-cross-attention"]
    try:
        importlib.import_module("comfy.cli_args")
    finally:
        sys.argv = argv
    logging.getLogger().setLevel(logging.WARNING)
