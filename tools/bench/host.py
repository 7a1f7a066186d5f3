"""ComfyUI, this pack and another one, in this process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from ipadapter.host import launch
from tools.environment import LAYOUT

PACK = "pack"  # as what this pack is imported, so that its relative imports work
# What of a checkout tells which pack it is, and as what it is imported.
PEERS = {
    "IPAdapterPlus.py": "plus",
    "xflux/src/flux": "xlabs",
    "ipadapter_flux.py": "shakker",
    "models/jointblock.py": "slickytail",
}

# As ComfyUI's own command line has them. One attention function everywhere, so that runs compare.
HOST_OPTIONS = {
    "cpu": ("--cpu", "--use-pytorch-cross-attention"),
    "cuda": ("--use-pytorch-cross-attention",),
}


class BenchError(Exception):
    """What was asked for cannot be measured; the message says why."""


def start_host(device: str, folder: Path) -> None:
    """ComfyUI in this process, as every run has it on the device. Raises BenchError without a host."""
    if not (folder / "main.py").is_file():
        raise BenchError(f"{folder} is no ComfyUI checkout: run `make env`, or let COMFYUI_PATH name one.")
    launch.start_host(HOST_OPTIONS[device], folder)


def import_package(name: str, folder: Path) -> ModuleType:
    """A custom node pack as a package, the way ComfyUI loads one."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def import_pack() -> ModuleType:
    """This pack."""
    return import_package(PACK, LAYOUT.root)


def import_peer(folder: Path) -> tuple[str, ModuleType]:
    """Another pack, and which of PEERS it is. Raises BenchError for a folder that is none of them."""
    name = next((name for mark, name in PEERS.items() if (folder / mark).exists()), None)
    if name is None:
        raise BenchError(
            f"--peer {folder} is no checkout of ComfyUI_IPAdapter_plus, x-flux-comfyui, ComfyUI-IPAdapter-Flux or "
            f"ComfyUI-InstantX-IPAdapter-SD3 (it has none of {', '.join(PEERS)})."
        )
    return name, import_package(f"peer_{name}", folder)
