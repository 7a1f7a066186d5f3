"""ComfyUI in the process of the tests as its `main.py` sets it up on a card, dynamic VRAM included.

`TEST_DEVICE=cpu` runs the same tests on a CPU, to try them where there is no card.
"""

from __future__ import annotations

import os

import torch

from tests.comfyui import ON_A_CPU, load_aimdo, start_host

DEVICE = os.environ.get("TEST_DEVICE", "cuda")
ARGUMENTS = {"cpu": ON_A_CPU, "cuda": ()}


def start_host_on_card() -> None:
    """The host's defaults for the device."""
    start_host(ARGUMENTS[DEVICE])
    if DEVICE == "cuda" and load_aimdo():
        switch_dynamic_vram_on()


def switch_dynamic_vram_on() -> None:
    """What the host does on an NVIDIA card, on the conditions it does it on."""
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher
    import comfy_aimdo.control

    nvidia = comfy.model_management.is_nvidia() and not comfy.model_management.is_wsl()
    if nvidia and comfy_aimdo.control.init_devices(range(torch.cuda.device_count())):
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True


def allocated() -> int:
    """Bytes of the card that torch has given out."""
    if DEVICE == "cpu":
        return 0
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()
