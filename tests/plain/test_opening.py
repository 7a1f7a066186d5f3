"""Old graphs as the front end opens them: what nothing answers to is replaced, what is another pack's stays its own."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from pack.ipadapter.legacy.migration.api_format import migrate_prompt
from pack.ipadapter.legacy.migration.forms import Form
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from pack.ipadapter.legacy.migration.moving import always
from pack.ipadapter.legacy.migration.opening import STAYS_OLD, open_old, open_old_prompt
from pack.ipadapter.legacy.migration.recognise import CANDIDATES
from pack.ipadapter.legacy.migration.ui_format import migrate_workflow

from tests.legacy_graphs import FIRST_FORMS, first_graph_of, graph_of
from tests.plain.test_first_version import laksjdjf, laksjdjf_prompt

SCRIPT = Path(__file__).resolve().parents[2] / "web" / "js" / "old_graphs.js"
FIRST = sorted(kind for kind in FIRST_FORMS if kind not in LEGACY_FORMS or kind == "IPAdapterEncoder")


def answered(form: Form) -> bool:
    """Where this pack answers to the old ids."""
    return form.id in LEGACY_FORMS and form.required <= set(LEGACY_FORMS[form.id].inputs)


def unanswered(form: Form) -> bool:
    return False


def anybodys(form: Form) -> bool:
    return True


@pytest.mark.parametrize("is_installed", [answered, unanswered])
@pytest.mark.parametrize("kind", FIRST)
def test_a_graph_of_the_first_version_opens_as_the_command_makes_it(kind, is_installed):
    given = first_graph_of(kind).ui
    kept = copy.deepcopy(given)
    opened = open_old(given, always, is_installed)
    made, changes, _ = migrate_workflow(given)
    assert (opened.graph, opened.others, given) == (made, {}, kept)
    assert opened.title == f"{len(changes)} old IP-Adapter node(s) replaced"
    assert all(any(change.old in line for line in opened.lines) for change in changes)


def test_all_that_is_lost_or_looks_different_is_said():
    opened = open_old(first_graph_of("IPAdapterTilesMasked", tile_weight=0.3).ui, always, answered)
    assert any("without tile_weight" in line for line in opened.lines)
    assert any("share the place" in line for line in opened.lines) and "Undo" in opened.lines[0]


@pytest.mark.parametrize("is_installed", [answered, unanswered])
@pytest.mark.parametrize("kind", sorted(LEGACY_FORMS))
def test_a_graph_of_the_second_version_opens_as_it_is(kind, is_installed):
    given = graph_of(kind).ui
    opened = open_old(given, always, is_installed)
    assert (opened.graph, opened.others, opened.lines) == (given, {}, ())


def test_what_was_taken_back_stays():
    given = first_graph_of("IPAdapterApply").ui
    given["extra"] = {STAYS_OLD: True}
    assert open_old(given, always, answered).graph == given


def test_nothing_is_replaced_where_the_new_nodes_are_not():
    given = first_graph_of("IPAdapterApply").ui
    assert open_old(given, lambda rules: False, answered).graph == given


@pytest.mark.parametrize("is_installed", [answered, unanswered])
def test_another_packs_node_of_the_same_name_is_called_by_its_maker(is_installed):
    given = laksjdjf()
    opened = open_old(given, always, is_installed)
    (name, own) = next(iter(opened.others.items()))
    assert (name, own) == ("IPAdapter (laksjdjf/IPAdapter-ComfyUI)", "IPAdapter")
    (node,) = opened.graph["nodes"]
    assert node == given["nodes"][0] | {"type": name} and opened.title == ""


def test_where_its_own_pack_is_it_is_left_alone():
    assert open_old(laksjdjf(), always, anybodys).graph == laksjdjf()


def test_in_a_subgraph_too():
    inner = {"id": "a", "name": "inside", "nodes": laksjdjf()["nodes"], "links": []}
    given = {"nodes": [], "links": [], "definitions": {"subgraphs": [inner]}, "version": 0.4}
    opened = open_old(given, always, answered)
    assert [*opened.others.values()] == ["IPAdapter"]
    assert opened.graph["definitions"]["subgraphs"][0]["nodes"][0]["type"] in opened.others


def test_a_node_with_inputs_that_nobody_knows_is_some_other_packs():
    slots = [{"name": name, "type": "IMAGE", "link": None} for name in ("pictures", "model")]
    given = {"nodes": [{"id": 1, "type": "IPAdapterBatch", "inputs": slots}], "links": []}
    assert open_old(given, always, answered).others == {"IPAdapterBatch (another pack)": "IPAdapterBatch"}


@pytest.mark.parametrize("kind", FIRST)
def test_a_prompt_of_the_first_version_opens_as_the_command_makes_it(kind):
    given = first_graph_of(kind).api
    kept = copy.deepcopy(given)
    opened = open_old_prompt(given, always, unanswered)
    made, changes, _ = migrate_prompt(given)
    assert (opened.graph, opened.others, given) == (made, {}, kept)
    assert opened.title == f"{len(changes)} old IP-Adapter node(s) replaced"
    assert "Undo" not in opened.lines[0] and "The file stays as it is" in opened.lines[0]


def test_a_prompts_node_of_another_pack_is_called_by_its_maker():
    given = laksjdjf_prompt()
    kept = copy.deepcopy(given)
    opened = open_old_prompt(given, always, answered)
    name = "IPAdapter (laksjdjf/IPAdapter-ComfyUI)"
    assert (opened.others, opened.title, given) == ({name: "IPAdapter"}, "", kept)
    assert opened.graph == {"5": {**given["5"], "class_type": name}}
    assert open_old_prompt(given, always, anybodys).graph == given


def test_the_script_asks_for_every_id_there_is_and_knows_the_mark():
    text = SCRIPT.read_text(encoding="utf-8")
    (pattern,) = re.findall(r"^const OLD = /(.+)/;", text, re.MULTILINE)
    assert all(re.search(pattern, kind) for kind in CANDIDATES)
    assert f'const STAYS_OLD = "{STAYS_OLD}";' in text
