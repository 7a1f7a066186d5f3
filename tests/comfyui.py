"""The real ComfyUI in the process of the tests, for every layer but the plain one."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.naming import ROOT, name_pack

USUAL = ROOT / ".host" / "ComfyUI"
HOST = Path(os.environ.get("COMFYUI_PATH") or USUAL).resolve()
# Of processes that run in it beside a test.
ENVIRONMENT = os.environ | {"COMFYUI_PATH": str(HOST), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


ON_A_CPU = ("--cpu", "--use-pytorch-cross-attention")


def start_host(arguments: tuple[str, ...] = ON_A_CPU) -> None:
    """Give the pack its name and start the host by it, with what else the host's own `main.py` does. Once a process."""
    name_pack()
    from pack.ipadapter.host import launch

    if launch.is_running():
        return
    load_aimdo()
    launch.start_host(arguments, HOST)
    importlib.import_module("utils.extra_config")  # as there, before `nodes` puts a module of that name on the path


def load_aimdo() -> bool:
    """What dynamic VRAM is made with, before the host's modules look for it; whether it is there and loads."""
    return importlib.util.find_spec("comfy_aimdo") is not None and importlib.import_module("comfy_aimdo.control").init()


def has(module: str, name: str = "") -> bool:
    """Whether the host in this process has a module, and in it a name."""
    return importlib.util.find_spec(module) is not None and (not name or hasattr(importlib.import_module(module), name))


def needs(module: str, name: str = "") -> pytest.MarkDecorator:
    """Leaves a test out, and says why, on a host that lacks what the test is about. The usual one has everything."""
    lacks = HOST != USUAL and not has(module, name)
    return pytest.mark.skipif(lacks, reason=f"this ComfyUI has no {'.'.join(filter(None, (module, name)))}")


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    """The user's output folder. A layer's conftest that imports this offers it to its tests."""
    import folder_paths

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path))
    yield tmp_path
    folder_paths.set_output_directory(before)
