"""What the host's own loader says of a host that lacks something: a real one, with that part taken out."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import comfy_api.latest
import pytest
from comfy.model_patcher import ModelPatcher
from pack.ipadapter.host.features import NEEDED, NODES_FEATURE, missing_features

import nodes
from tests.schema.texts import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The pack where the host has not yet loaded it from."""
    (tmp_path / "pack").symlink_to(ROOT)
    return tmp_path / "pack"


def refusal(folder: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines in the host's log after it has not taken the pack."""
    with caplog.at_level(logging.WARNING):
        assert not asyncio.run(nodes.load_custom_node(str(folder)))
    return [record.getMessage() for record in caplog.records]


def test_this_host_lacks_nothing():
    assert missing_features((NODES_FEATURE, *NEEDED)) == []


def test_an_old_host_says_what_it_lacks_in_one_line(folder, caplog, monkeypatch):
    monkeypatch.delattr(ModelPatcher, "model_patches_call_function")
    (line,) = refusal(folder, caplog)
    assert line.startswith(f"Error while calling comfy_entrypoint in {folder}: Image Prompt Adapter needs ComfyUI ")
    assert line.endswith("(comfy.model_patcher.ModelPatcher.model_patches_call_function): update ComfyUI.")
    assert "\n" not in line


def test_a_host_from_before_entrypoints_lists_the_import_as_failed_with_the_same_sentence(folder, caplog, monkeypatch):
    monkeypatch.delattr(comfy_api.latest, "ComfyExtension")
    line = refusal(folder, caplog)[-1]
    assert line.startswith(f"Cannot import {folder} module for custom nodes: Image Prompt Adapter needs ComfyUI ")
    assert line.endswith("nodes of the V3 API (comfy_api.latest.ComfyExtension): update ComfyUI.")
