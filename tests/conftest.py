"""The real host, in process, for every test that needs it: on its path, on the CPU, with folders of its own."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVED = ("live", "browser")
HOST = Path(os.environ.get("COMFYUI_PATH", ROOT / ".host" / "ComfyUI"))


def start_host() -> None:
    """Put the host first on the path and parse its options as its own `main.py` would."""
    sys.path[:0] = [str(HOST)]
    import comfy.options

    comfy.options.enable_args_parsing()
    argv, sys.argv = sys.argv, ["main.py", "--cpu", "--use-pytorch-cross-attention"]
    try:
        importlib.import_module("comfy.cli_args")
    finally:
        sys.argv = argv


def import_pack() -> ModuleType:
    """The pack as one package, so that its relative imports work under a name tests can import."""
    spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack"] = module
    spec.loader.exec_module(module)
    return module


start_host()
import_pack()

import torch  # noqa: E402 (after the host, whose options decide how torch is set up)

torch.set_num_threads(1)  # the models here are too small to share out, and other work may run beside


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a server stay in one process when the tests are spread over several."""
    for item in items:
        layer = item.path.relative_to(ROOT / "tests").parts[0]
        if layer in SERVED:
            item.add_marker(pytest.mark.xdist_group(layer))


@pytest.fixture(autouse=True)
def no_gradients():
    """Sampling in the host runs without gradients."""
    with torch.inference_mode():
        yield
