"""What every layer shares: the pack under a name tests can import, and how torch runs. No layer needs more of this.

Layers that need ComfyUI start it in a conftest of their own; the plain layer does without.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch

from tests.naming import ROOT, name_pack

# Layers whose tests share a server, the longest first.
SERVED = ("live", "browser")
# Layers whose files make models that their tests share.
WITH_MODELS = ("host", "oracle", "dynamic", "lab")

name_pack()
torch.set_num_threads(1)  # the models here are too small to share out, and other work may run beside


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """When the tests are spread over several processes, those that share something stay in one.

    A server is shared by a layer, models and adapters by a file. The layers with a server, the longest, begin.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group") and (together := shared_by(item)):
            item.add_marker(pytest.mark.xdist_group(together))
    items.sort(key=lambda item: (*SERVED, layer_of(item)).index(layer_of(item)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to spread tests out where groups are not kept together: servers and their models fill the memory."""
    gc.freeze()  # what is imported by now stays, and need not be looked through again and again
    if not getattr(session.config.option, "loadgroup", False):
        return
    if any(item.get_closest_marker("xdist_group") and "@" not in item.nodeid for item in session.items):
        raise pytest.UsageError("this pytest-xdist does not keep groups of tests together beside this pytest.")


def shared_by(item: pytest.Item) -> str | None:
    """The name of what a test shares with others; None where each does for itself."""
    layer = layer_of(item)
    if layer in SERVED:
        return layer
    return f"{layer} {item.path.stem}" if layer in WITH_MODELS else None


def layer_of(item: pytest.Item) -> str:
    """The folder that a test is in."""
    return item.path.relative_to(ROOT / "tests").parts[0]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    """Sampling in the host runs without gradients."""
    with torch.inference_mode():
        yield
