"""ComfyUI in the process of the tests as its `main.py` sets it up on a card, dynamic VRAM included.

`TEST_DEVICE=cpu` runs the same tests on a CPU, to try them where there is no card.
"""

from __future__ import annotations

import importlib
import os
import sys

import torch

from tests.comfyui import HOST, ON_A_CPU, start_host

DEVICE = os.environ.get("TEST_DEVICE", "cuda")
ARGUMENTS = {"cpu": ON_A_CPU, "cuda": ()}


def start_host_on_card() -> None:
    """The host's defaults for the device; nothing where it has been started."""
    if "comfy.cli_args" in sys.modules:
        return
    sys.path[:0] = [str(HOST)]
    aimdo = importlib.import_module("comfy_aimdo.control")
    mapped = DEVICE == "cuda" and aimdo.init()  # before the host's modules look for it
    start_host(ARGUMENTS[DEVICE])
    if mapped:
        switch_dynamic_vram_on(aimdo)


def switch_dynamic_vram_on(aimdo) -> None:
    """What the host does on an NVIDIA card, on the conditions it does it on."""
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher

    nvidia = comfy.model_management.is_nvidia() and not comfy.model_management.is_wsl()
    if nvidia and aimdo.init_devices(range(torch.cuda.device_count())):
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True


def allocated() -> int:
    """Bytes of the card that torch has given out."""
    if DEVICE == "cpu":
        return 0
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()
