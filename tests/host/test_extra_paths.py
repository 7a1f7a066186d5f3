"""docs/extra_model_paths.yaml, as ComfyUI reads it."""

from __future__ import annotations

import folder_paths
from pack.ipadapter.host.files import HOST_ADAPTERS, HOST_ENCODERS, file_names, register_adapter_folder
from utils import extra_config

from tests.conftest import ROOT

EXAMPLE = (ROOT / "docs" / "extra_model_paths.yaml").read_text(encoding="utf-8")
FILES = {"ipadapter/a.safetensors": HOST_ADAPTERS, "stable-diffusion/ipadapter/b.bin": HOST_ADAPTERS}


def test_the_example_leads_to_files_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    for name in (*FILES, "clip_vision/c.safetensors", "insightface/models/d/e.onnx"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    config = tmp_path / "extra_model_paths.yaml"
    config.write_text(EXAMPLE.replace("/path/to/models/", str(tmp_path)), encoding="utf-8")
    extra_config.load_extra_path_config(str(config))
    register_adapter_folder()
    assert {"a.safetensors", "b.bin"} <= set(file_names(HOST_ADAPTERS))
    assert "c.safetensors" in file_names(HOST_ENCODERS)
    assert str(tmp_path / "insightface") in folder_paths.get_folder_paths("insightface")
