"""The host's dynamic VRAM, its default on NVIDIA cards, as far as a CPU has it.

There the host builds its layers without parameters, gives them theirs when a file is loaded, and maps files into memory
rather than reading them. What needs a card (weights that come and go while a model runs) is in `tests/gpu`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.comfyui import output, start_host

__all__ = ["output"]

start_host()

from tests.dynamic.vram import dynamic_vram  # noqa: E402 (of the host, which is there only now)


@pytest.fixture(autouse=True)
def as_on_a_card() -> Iterator[None]:
    with dynamic_vram(True):
        yield
