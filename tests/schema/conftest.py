"""The pack once through the host's own loader, for every test of this layer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.comfyui import start_host
from tests.schema.texts import load_pack, object_info

start_host()


@pytest.fixture(scope="session")
def loaded() -> tuple[bool, dict[str, Any]]:
    return load_pack()


@pytest.fixture(scope="session")
def info(loaded: tuple[bool, dict[str, Any]]) -> dict[str, Any]:
    return object_info(loaded[1])
