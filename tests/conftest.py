"""What every layer shares: the pack under a name tests can import, and how torch runs. No layer needs more of this.

Layers that need ComfyUI start it in a conftest of their own; the plain layer does without.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
# Layers whose tests share a server, the longest first.
SERVED = ("live", "browser")


def name_pack() -> None:
    """Make `pack` the package of this checkout, for its relative imports; its `__init__`, the host's, is not run."""
    spec = ModuleSpec("pack", None, is_package=True)
    spec.submodule_search_locations = [str(ROOT)]
    sys.modules["pack"] = module_from_spec(spec)


name_pack()
torch.set_num_threads(1)  # the models here are too small to share out, and other work may run beside


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """When the tests are spread over several processes, those that share a server stay in one, and begin at once."""
    for item in items:
        if layer_of(item) in SERVED:
            item.add_marker(pytest.mark.xdist_group(layer_of(item)))
    items.sort(key=lambda item: (*SERVED, layer_of(item)).index(layer_of(item)))


def layer_of(item: pytest.Item) -> str:
    """The folder that a test is in."""
    return item.path.relative_to(ROOT / "tests").parts[0]


@pytest.fixture(autouse=True)
def no_gradients():
    """Sampling in the host runs without gradients."""
    with torch.inference_mode():
        yield
