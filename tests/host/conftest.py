"""This layer runs in a real ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.comfyui import ENVIRONMENT, start_host
from tests.naming import ROOT

if TYPE_CHECKING:
    from tests.host.forks import Forker

start_host()


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its state for the whole process."""
    yield
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    """For runs that end their process, or that need one to themselves."""
    from tests.host.forks import forking

    with forking(ROOT, tmp_path_factory.mktemp("forks") / "errors.txt", ENVIRONMENT) as made:
        yield made
