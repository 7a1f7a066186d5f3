"""The host in this process, on the CPU or a card, its log kept short."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ipadapter.host import launch

ROOT = Path(__file__).resolve().parent.parent
ATTENTION = "--use-pytorch-cross-attention"
OPTIONS = {"cpu": ("--cpu", ATTENTION), "cuda": (ATTENTION,)}  # by where it computes


def start_host(device: str = "cpu") -> None:
    """Start the host; nothing happens where one is running already."""
    if launch.is_running():
        return
    launch.start_host(OPTIONS[device], Path(os.environ.get("COMFYUI_PATH") or ROOT / ".host" / "ComfyUI"))
    logging.getLogger().setLevel(logging.WARNING)
