"""This layer runs in a real ComfyUI."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.comfyui import output, start_host
from tests.host.forks import Forker

__all__ = ["output"]

start_host()

# Before anything is computed, in processes that never need it too: to fork costs next to nothing.
FORKER = Forker.begin() if sys.platform == "linux" else None


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its state for the whole process."""
    yield
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()


@pytest.fixture(scope="session")
def forker() -> Forker:
    """For runs that end their process, or that need one to themselves."""
    assert FORKER is not None
    return FORKER


@pytest.fixture(scope="session")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """InsightFace with the stand-in pack."""
    from insightface.app import FaceAnalysis

    from tests.faces import write_pack

    pack = write_pack(tmp_path_factory.mktemp("packs") / "buffalo_l")
    made = FaceAnalysis(name=str(pack), providers=["CPUExecutionProvider"])
    made.prepare(ctx_id=0, det_size=(640, 640))
    return made
