"""The nodes as the host loads and describes them. The host hides what goes wrong while it loads a pack."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from pack.ipadapter.library.beginning import NONE_YET

from tests.schema.texts import CURRENT, GOLDEN, NODE_IDS, ROOT, inputs_of

RENEW = "if that is meant, run: .venv/bin/python -m tests.schema.renew"


def test_the_host_loads_the_pack(loaded):
    taken, classes = loaded
    assert taken
    assert tuple(sorted(classes)) == NODE_IDS


def test_the_nodes_are_of_the_hosts_current_api(loaded):
    from comfy_api.v0_0_2 import io

    assert all(issubclass(found, io.ComfyNode) for found in loaded[1].values())


def test_the_web_folder_is_served_under_the_folders_name(loaded):
    import nodes

    assert nodes.EXTENSION_WEB_DIRS[ROOT.name] == str(ROOT / "web")


def test_the_adapter_folder_lists_weights_only(loaded):
    import folder_paths

    paths, endings = folder_paths.folder_names_and_paths["ipadapter"]
    assert str(Path(folder_paths.models_dir) / "ipadapter") in paths
    assert {".safetensors", ".bin"} <= set(endings)
    assert "" not in endings


def test_what_a_client_is_told_has_not_changed(info):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert info == {name: as_told_here(node) for name, node in golden.items()}, RENEW


def as_told_here(node):
    """A node's description without the fields that this host does not tell of any node."""
    from comfy_api.latest._io import NodeInfoV1

    told = {field.name for field in dataclasses.fields(NodeInfoV1)}
    return {name: value for name, value in node.items() if name in told}


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_everything_has_a_tooltip(info, node_id):
    node = info[node_id]
    silent = [name for name, (_, options) in inputs_of(node).items() if not options.get("tooltip")]
    assert not silent
    assert all(node["output_tooltips"])
    assert node["description"]


@pytest.mark.parametrize("node_id", CURRENT)
def test_it_can_be_found_by_other_words(info, node_id):
    assert len(info[node_id]["search_aliases"]) >= 3


def test_a_new_file_is_listed_when_the_user_refreshes(loaded, tmp_path, monkeypatch):
    import folder_paths

    _, endings = folder_paths.folder_names_and_paths["ipadapter"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", ([str(tmp_path)], endings))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    node = loaded[1]["LoadIPAdapter"]
    assert listed_adapters(node) == [NONE_YET]
    for name in ("new.safetensors", "old.bin", "readme.txt"):
        (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path, (1, 1))  # another time than before, whatever the clock's resolution
    assert listed_adapters(node) == ["new.safetensors", "old.bin"]


def test_a_folder_that_was_removed_is_no_longer_listed(loaded, tmp_path, monkeypatch):
    """The pack is loaded, and its menus are filled, whatever was listed before."""
    import folder_paths

    _, endings = folder_paths.folder_names_and_paths["ipadapter"]
    places = [str(tmp_path / name) for name in ("kept", "removed")]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", (places, endings))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    for place in places:
        Path(place, "run").mkdir(parents=True)
        Path(place, "run", "a.safetensors").touch()
    node = loaded[1]["LoadIPAdapter"]
    assert len(listed_adapters(node)) == 1
    shutil.rmtree(tmp_path / "removed")
    assert len(listed_adapters(node)) == 1
    shutil.rmtree(tmp_path / "kept" / "run")
    assert listed_adapters(node) == [NONE_YET]


def listed_adapters(node) -> list[str]:
    """The menu of Load IP-Adapter as a client would get it now."""
    (_, options) = inputs_of(node.GET_NODE_INFO_V1())["ip_adapter_name"]
    return options["options"]


def test_the_root_module_only_points_to_the_nodes():
    body = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    kinds = [type(statement) for statement in body]
    assert kinds == [ast.ImportFrom, ast.Assign, ast.Assign]
