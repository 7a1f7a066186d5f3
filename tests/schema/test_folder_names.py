"""The checkout may lie in a folder of any name: what git has of it is linted and taken by ComfyUI as in any other."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nodes
from tests.schema.texts import NODE_IDS, OLD_IDS, ROOT, shipped_files

# Some are names of packages that this one imports.
NAMES = (
    "image-prompt-adapter",
    "pack",
    "torch",
    "nodes",
    "my nodes (copy of main)",
    "1.0",
    "build",
    "a/" * 60 + "deep",
)


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> dict[str, Path]:
    """What git has of this checkout, once under each name."""
    root = tmp_path_factory.mktemp("copies")
    files = shipped_files()
    for name in NAMES:
        for file in files:
            (root / name / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, root / name / file)
    return {name: root / name for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", [("check",), ("format", "--check")], ids=["check", "format"])
def test_ruff_passes(copies, name, check):
    command = [sys.executable, "-m", "ruff", *check, "--no-cache", "."]
    done = subprocess.run(command, cwd=copies[name], capture_output=True, text=True)
    assert done.returncode == 0 and "No Python files" not in done.stderr, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_comfyui_takes_the_pack(copies, name, monkeypatch):
    folder = copies[name]
    for table in ("NODE_CLASS_MAPPINGS", "EXTENSION_WEB_DIRS", "LOADED_MODULE_DIRS"):
        monkeypatch.setattr(nodes, table, {})
    assert asyncio.run(nodes.load_custom_node(str(folder)))
    assert sorted(nodes.NODE_CLASS_MAPPINGS) == sorted((*NODE_IDS, *OLD_IDS))
    files = [Path(inspect.getfile(node)) for node in nodes.NODE_CLASS_MAPPINGS.values()]
    assert all(file.is_relative_to(folder) for file in files)
    assert nodes.EXTENSION_WEB_DIRS[folder.name] == str(folder / "web")
