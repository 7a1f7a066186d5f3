"""Old nodes against the pack as the host has loaded it: what stands in for them exists, and its graphs are valid."""

from __future__ import annotations

import asyncio
import copy
from types import SimpleNamespace

import pytest
from pack.ipadapter.legacy.migration.api_format import migrate_prompt
from pack.ipadapter.legacy.migration.forms import Form
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from pack.ipadapter.legacy.migration.new_nodes import NEW_FORMS
from pack.ipadapter.legacy.migration.rules import MIGRATION_RULES

from tests.legacy_graphs import ADAPTER_FILE, EMBEDS_FILE, FIRST_FORMS, KINDS, SINK, first_graph_of, graph_of
from tests.plain.test_first_version import laksjdjf, laksjdjf_prompt
from tests.schema.texts import inputs_of
from tools.workflows.schema import WIDGET_TYPES


@pytest.mark.parametrize("name", sorted(NEW_FORMS))
def test_the_table_of_new_nodes_is_their_schema(info, name):
    node, form = info[name], NEW_FORMS[name]
    found = {key: kind for key, (kind, *_) in inputs_of(node).items()}
    sockets = [key for key, kind in found.items() if kind not in WIDGET_TYPES]
    required = node["input"].get("required", {})
    assert [(socket.name, socket.kind, socket.optional) for socket in form.sockets] == [
        (key, found[key], key not in required) for key in sockets
    ]
    assert [(widget.name, widget.kind) for widget in form.widgets] == [
        (key, kind) for key, kind in found.items() if kind in WIDGET_TYPES
    ]
    assert [(output.name, output.kind) for output in form.outputs] == list(
        zip(node["output_name"], node["output"], strict=True)
    )


@pytest.mark.parametrize("name", sorted(NEW_FORMS))
def test_the_defaults_of_the_table_are_those_of_the_schema(info, name):
    options = {key: spec[1] for key, spec in inputs_of(info[name]).items()}
    for widget in NEW_FORMS[name].widgets:
        given = options[widget.name]
        assert widget.default == given.get("default", "")
        assert widget.control == bool(given.get("control_after_generate"))
        assert not widget.options or list(widget.options) == given["options"]
        assert widget.advanced == bool(given.get("advanced")) and widget.long == bool(given.get("multiline"))
        assert (widget.low, widget.high) == (given.get("min"), given.get("max"))


def source(kind: str) -> type:
    """A node that makes something of a type, for graphs that are not run."""
    return type(f"Test{kind}", (), {"INPUT_TYPES": lambda: {}, "RETURN_TYPES": (kind,), "FUNCTION": "run"})


SINK_CLASS = type(
    SINK,
    (),
    {
        "INPUT_TYPES": lambda: {"required": {"any": ("*",)}},
        "RETURN_TYPES": (),
        "FUNCTION": "run",
        "OUTPUT_NODE": True,
    },
)


@pytest.fixture
def classes(loaded, tmp_path, monkeypatch):
    """The host's table of nodes, with sources and sinks, and with files to choose."""
    import folder_paths

    import nodes

    _, endings = folder_paths.folder_names_and_paths["ipadapter"]
    (tmp_path / ADAPTER_FILE).touch()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", ([str(tmp_path)], endings))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
    (tmp_path / EMBEDS_FILE).touch()
    pack = tmp_path / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    (pack / "det.onnx").touch()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path)], set()))
    for old in LEGACY_FORMS:  # as where this pack does not answer to them
        monkeypatch.delitem(nodes.NODE_CLASS_MAPPINGS, old)
    for kind in KINDS:
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, f"Test{kind}", source(kind))
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, SINK, SINK_CLASS)
    return nodes.NODE_CLASS_MAPPINGS


def objections(prompt) -> list:
    """What the host says about a graph."""
    import execution

    valid, error, _, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    return [] if valid and not node_errors else [error, node_errors]


@pytest.mark.parametrize("optional", [True, False], ids=["all linked", "only what is needed"])
@pytest.mark.parametrize("old", sorted(LEGACY_FORMS))
def test_the_host_takes_the_migrated_graph_of_every_old_node(classes, old, optional):
    prompt = migrate_prompt(graph_of(old, optional).api)[0]
    assert objections(prompt) == []


@pytest.mark.parametrize("optional", [True, False], ids=["all linked", "only what is needed"])
@pytest.mark.parametrize("old", sorted(FIRST_FORMS))
def test_the_host_takes_the_migrated_graph_of_every_node_of_the_first_version(classes, old, optional):
    prompt = migrate_prompt(first_graph_of(old, optional).api)[0]
    assert objections(prompt) == []


def request(old: str, optional: bool = True) -> dict:
    return {"prompt": graph_of(old, optional).api, "client_id": "x"}


@pytest.mark.parametrize("old", sorted(LEGACY_FORMS))
def test_a_request_with_an_old_node_is_put_right_whatever_it_lacks(classes, old):
    from pack.ipadapter.host.legacy.replacing import replace_in_request

    given = request(old, optional=False)
    for node in given["prompt"].values():
        del node["_meta"]
    before = copy.deepcopy(given)
    made = replace_in_request(given)
    assert given == before and made["client_id"] == "x"
    assert old not in {node["class_type"] for node in made["prompt"].values()}
    assert objections(made["prompt"]) == []


def installed(form: Form) -> type:
    """Another pack's node of this form."""
    inputs = {socket.name: (socket.kind,) for socket in form.sockets}
    return type(form.id, (), {"INPUT_TYPES": lambda: {"required": inputs}, "RETURN_TYPES": (), "FUNCTION": "run"})


@pytest.fixture
def second_version(classes, monkeypatch):
    """The host's table with the old pack in it."""
    for name, form in LEGACY_FORMS.items():
        monkeypatch.setitem(classes, name, installed(form))


def test_old_nodes_that_are_installed_are_left_alone(second_version):
    from pack.ipadapter.host.legacy.replacing import replace_in_request

    given = request("IPAdapterAdvanced")
    assert replace_in_request(given) is given


@pytest.mark.parametrize("old", ["IPAdapterApply", "IPAdapterEncoder"])
def test_a_node_of_the_first_version_moves_with_what_feeds_it_though_the_second_is_installed(second_version, old):
    from pack.ipadapter.host.legacy.replacing import replace_in_request

    both = {**first_graph_of(old).api, **{f"2{key}": node for key, node in loaded_apart().items()}}
    made = replace_in_request({"prompt": both})["prompt"]
    assert {key: node["class_type"] for key, node in made.items() if node["class_type"] in LEGACY_FORMS} == {
        "21": "IPAdapterModelLoader",
        "22": "IPAdapterAdvanced",
    }


def loaded_apart() -> dict:
    """A loader and what it feeds, both of the second version."""
    links = {"ipadapter": ["21", 0], "model": ["9", 0], "image": ["9", 0]}
    return {
        "1": {"class_type": "IPAdapterModelLoader", "inputs": {"ipadapter_file": ADAPTER_FILE}},
        "2": {"class_type": "IPAdapterAdvanced", "inputs": links},
    }


def test_a_loader_moves_with_a_node_that_is_not_installed(classes, monkeypatch):
    from pack.ipadapter.host.legacy.replacing import replace_in_request

    monkeypatch.setitem(classes, "IPAdapterModelLoader", installed(LEGACY_FORMS["IPAdapterModelLoader"]))
    made = replace_in_request(request("IPAdapterAdvanced"))["prompt"]
    assert not {node["class_type"] for node in made.values()} & set(LEGACY_FORMS)


@pytest.mark.parametrize("content", [{}, {"prompt": None}, {"prompt": {"1": 2}}, {"prompt": {"1": {"inputs": {}}}}])
def test_a_request_without_old_nodes_is_passed_on_as_it_is(classes, content):
    from pack.ipadapter.host.legacy.replacing import replace_in_request

    assert replace_in_request(content) is content


# Between two old nodes the host follows, in an order of chance, only links to inputs that keep their name.
ALL_CARRIED = [
    old
    for old in sorted(LEGACY_FORMS)
    if all(MIGRATION_RULES[old].inputs.get(one.name) == one.name for one in LEGACY_FORMS[old].sockets)
]


@pytest.mark.parametrize("old", ALL_CARRIED)
def test_the_hosts_own_replacement_makes_the_same_graph_where_all_is_linked(classes, old):
    from app.node_replace_manager import NodeReplaceManager
    from pack.ipadapter.host.legacy.replacing import replacements

    manager, prompt = NodeReplaceManager(), graph_of(old).api
    for one in replacements():
        manager.register(one)
    expected = migrate_prompt(prompt)[0]
    manager.apply_replacements(prompt)
    assert prompt == expected


def test_the_front_end_is_told_of_every_old_node():
    from pack.ipadapter.host.legacy.replacing import replacements

    told = {one.old_node_id: one.as_dict() for one in replacements()}
    assert set(told) == set(LEGACY_FORMS)
    for old, one in told.items():
        assert one["old_widget_ids"] == list(LEGACY_FORMS[old].widget_slots)
        assert not [entry for entry in one["input_mapping"] or () if "." in entry["new_id"]]
        assert len(one["output_mapping"] or ()) == len(LEGACY_FORMS[old].outputs)


def test_a_running_server_is_told(monkeypatch):
    import server
    from app.node_replace_manager import NodeReplaceManager
    from pack.ipadapter.host.legacy.replacing import register_replacements, replace_in_request

    handlers: list = []
    running = SimpleNamespace(node_replace_manager=NodeReplaceManager(), add_on_prompt_handler=handlers.append)
    monkeypatch.setattr(server.PromptServer, "instance", running, raising=False)
    asyncio.run(register_replacements())
    assert running.node_replace_manager.has_replacement("IPAdapterAdvanced")
    assert handlers == [replace_in_request]


def test_a_graph_that_is_opened_is_put_right_by_what_the_host_has(loaded):
    """Where this pack answers to the old ids, which fits neither laksjdjf's node nor the first version's."""
    from pack.ipadapter.host.legacy.opening import put_right

    made = put_right(first_graph_of("IPAdapterApply").ui)
    kinds = {node["type"] for node in made["graph"]["nodes"]}
    assert {"LegacyIPAdapter", "LoadIPAdapter"} <= kinds and not kinds & set(FIRST_FORMS)
    assert [*put_right(laksjdjf())["others"].values()] == ["IPAdapter"]
    assert put_right(laksjdjf_prompt())["graph"]["5"]["class_type"] == "IPAdapter (laksjdjf/IPAdapter-ComfyUI)"
    assert "LegacyIPAdapter" in str(put_right(first_graph_of("IPAdapterApply").api)["graph"])
    damaged = {"nodes": [{"type": "IPAdapterApply", "inputs": 3}], "links": []}
    assert put_right(graph_of("IPAdapter").ui) == put_right(damaged) == put_right([]) == {}


def test_a_request_with_another_packs_node_is_refused_under_its_makers_name(loaded):
    """Where this pack answers to the id, its sentence of inputs that are missing would be of another node."""
    from pack.ipadapter.host.legacy.replacing import replace_in_request

    sent = {"prompt": laksjdjf_prompt(), "client_id": "me"}
    told = replace_in_request(sent)
    assert [node["class_type"] for node in told["prompt"].values()] == ["IPAdapter (laksjdjf/IPAdapter-ComfyUI)"]
    assert told["client_id"] == "me" and sent["prompt"] == laksjdjf_prompt()
    unknown = {"prompt": {"1": {"class_type": "IPAdapterBatch", "inputs": {"pictures": ["2", 0]}}}}
    assert replace_in_request(unknown) is unknown
