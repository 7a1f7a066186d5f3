"""The old pack's ids: each is what its callers need, and all of them are answered here or none."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path

import pytest
from pack.ipadapter.host.legacy.old_ids import SWITCH, OldIds, register_old_ids
from pack.nodes.legacy.old_nodes import OLD_NODES, TITLES_OF_OLD

import nodes
from tests.schema.old_contract import CONTRACT, ORDERS, Asked, asked, entries
from tests.schema.texts import ROOT

ALL = sorted(CONTRACT)


def test_every_old_id_is_there_and_no_other():
    assert sorted(OLD_NODES) == ALL and len(ALL) == 37


def found(group: dict[str, tuple]) -> list[Asked]:
    """A node's inputs in the contract's words; the first element of a menu is a list, as callers index it."""
    return [read(name, *entry) for name, entry in group.items()]


def read(name: str, kind, options=None) -> Asked:
    options = options or {}
    if isinstance(kind, list):
        return Asked(name, tuple(kind), options.get("default"))
    limits = tuple(float(options[key]) for key in ("min", "max", "step") if key in options and kind == "FLOAT")
    limits = limits or tuple(float(options[key]) for key in ("min", "max") if key in options)
    return Asked(name, kind, options.get("default"), limits)


@pytest.fixture
def no_files(monkeypatch):
    """Nothing in the menus of files."""
    monkeypatch.setattr("pack.nodes.legacy.old_nodes.FILE_LISTS", {"ipadapter_file": list, "embeds": list})


@pytest.mark.parametrize("name", ALL)
def test_its_inputs_are_the_old_ones_in_their_order(name, no_files):
    types = OLD_NODES[name].INPUT_TYPES()
    _, required, optional, _ = CONTRACT[name]
    assert found(types["required"]) == asked(required)
    assert found(types.get("optional", {})) == asked(optional)
    assert set(types) <= {"required", "optional"}


@pytest.mark.parametrize("name", ALL)
def test_its_method_and_outputs_are_the_old_ones(name):
    node, (method, _, _, outputs) = OLD_NODES[name], CONTRACT[name]
    made = list(zip(node.RETURN_NAMES, node.RETURN_TYPES, strict=True))
    assert method == node.FUNCTION
    assert made == [tuple(entry.split(":")) for entry in entries(outputs)]
    assert node.OUTPUT_NODE is (name == "IPAdapterSaveEmbeds")


@pytest.mark.parametrize("name", ALL)
def test_its_method_takes_its_inputs_in_the_old_order(name):
    parameters = inspect.signature(getattr(OLD_NODES[name](), CONTRACT[name][0])).parameters.values()
    must, may = (part.split() for part in ORDERS[name].split("|"))
    assert [one.name for one in parameters] == must + may
    assert [one.name for one in parameters if one.default is one.empty] == must


def test_whatever_the_host_sends_its_method_takes(no_files):
    for node in OLD_NODES.values():
        sent = [key for group in node.INPUT_TYPES().values() for key in group]
        inspect.signature(getattr(node(), node.FUNCTION)).bind(**dict.fromkeys(sent))


@pytest.mark.parametrize("name", ALL)
def test_the_host_describes_it_as_a_node_of_before(name, loaded):
    node = nodes.NODE_CLASS_MAPPINGS[name]
    assert node is not OLD_NODES[name] and node.DEPRECATED and node.CATEGORY  # the host's copy of the module
    assert f"custom_nodes.{ROOT.name}" == node.RELATIVE_PYTHON_MODULE
    title = nodes.NODE_DISPLAY_NAME_MAPPINGS[name]
    assert title.replace(" ", "") == name  # no longer than it was: nodes of old graphs would be wider
    assert json.dumps(node.INPUT_TYPES())


# Who answers


OTHER = """
class Theirs:
    RETURN_TYPES, FUNCTION = (), "run"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}
NODE_CLASS_MAPPINGS = {names}
{more}
"""


@pytest.fixture
def host(monkeypatch):
    """The host's two tables as they are before any pack is loaded."""
    installed = {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if name not in CONTRACT}
    shown = {name: text for name, text in nodes.NODE_DISPLAY_NAME_MAPPINGS.items() if name not in CONTRACT}
    monkeypatch.setattr(nodes, "NODE_CLASS_MAPPINGS", installed)
    monkeypatch.setattr(nodes, "NODE_DISPLAY_NAME_MAPPINGS", shown)
    return installed


def ours() -> OldIds:
    return OldIds(OLD_NODES, TITLES_OF_OLD, nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS)


def load_other(folder: Path, names: list[str], more: str = "") -> None:
    """Another pack, through the host's own loader, which says nothing of a failed import but in its log."""
    folder.mkdir()
    table = "{" + ", ".join(f'"{name}": Theirs' for name in names) + "}"
    (folder / "__init__.py").write_text(OTHER.replace("{names}", table).replace("{more}", more))
    asyncio.run(nodes.load_custom_node(str(folder)))


def holders(installed) -> set[str]:
    """Whose classes answer to the old ids."""
    return {"ours" if installed[name] is OLD_NODES[name] else "theirs" for name in ALL if name in installed}


@pytest.mark.parametrize("names", [ALL, ALL[:1]], ids=["all", "one"])
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_where_another_pack_has_an_old_id_none_is_ours(host, tmp_path, names, first):
    steps = [ours().offer, lambda: load_other(tmp_path / "theirs", names)]
    for step in steps if first == "ours" else steps[::-1]:
        step()
    asyncio.run(ours().settle())
    assert holders(host) == {"theirs"} and sorted(set(host) & set(ALL)) == names
    assert set(nodes.NODE_DISPLAY_NAME_MAPPINGS) & set(ALL) <= set(names)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_pack_that_failed_to_load_has_no_ids(host, tmp_path, first):
    steps = [ours().offer, lambda: load_other(tmp_path / "ComfyUI_IPAdapter_plus", ALL, more="raise ImportError")]
    for step in steps if first == "ours" else steps[::-1]:
        step()
    asyncio.run(ours().settle())
    assert holders(host) == {"ours"} and set(ALL) <= set(host)


def test_a_folder_of_the_old_name_proves_nothing(host, tmp_path):
    (tmp_path / "ComfyUI_IPAdapter_plus.disabled").mkdir()
    load_other(tmp_path / "comfyui_ipadapter_plus", ["SomethingElse"])
    ours().offer()
    asyncio.run(ours().settle())
    assert holders(host) == {"ours"}


@pytest.mark.parametrize("value", ["0", "off", " No "])
def test_a_variable_turns_it_off(host, monkeypatch, value):
    monkeypatch.setenv(SWITCH, value)
    register_old_ids(OLD_NODES, TITLES_OF_OLD)
    assert not set(host) & set(ALL)
    monkeypatch.delenv(SWITCH)
    register_old_ids(OLD_NODES, TITLES_OF_OLD)
    assert set(ALL) <= set(host)


def test_a_server_looks_again_when_the_last_pack_is_loaded(host, tmp_path, monkeypatch):
    """A real server: what it runs when it starts, before the first request."""
    import server
    from aiohttp import web

    monkeypatch.setattr(server.PromptServer, "instance", None, raising=False)

    async def start() -> None:
        running = server.PromptServer(asyncio.get_running_loop())
        register_old_ids(OLD_NODES, TITLES_OF_OLD)
        await asyncio.to_thread(load_other, tmp_path / "theirs", ALL[:1])
        runner = web.AppRunner(running.app)
        await runner.setup()
        await runner.cleanup()

    asyncio.run(start())
    assert holders(host) == {"theirs"}
