"""Graphs of another pack, turned into graphs of this one."""

from __future__ import annotations

import copy
import json

import pytest
from pack.ipadapter.legacy.migration.api_format import migrate_prompt
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from pack.ipadapter.legacy.migration.rules import MIGRATION_RULES
from pack.ipadapter.legacy.migration.ui_format import migrate_workflow

from tests.conftest import ROOT
from tests.legacy_graphs import LegacyGraph, faults, graph_of, to_prompt
from tools.migration_page.languages import PAGES
from tools.migration_page.page import MigrationPage, text_of

LEGACY = sorted(LEGACY_FORMS)


def node_of(graph, kind: str) -> dict:
    """The one node of a class."""
    (found,) = (node for node in graph["nodes"] if node["type"] == kind)
    return found


def notes(changes) -> str:
    return " ".join(note for change in changes for note in change.notes)


@pytest.mark.parametrize("kind", LEGACY)
def test_every_old_node_has_a_rule_whose_inputs_the_new_node_has(kind):
    rule = MIGRATION_RULES[kind]
    known = set(rule.new_form.inputs)
    assert {*rule.inputs.values(), *rule.fixed} <= known
    assert set(rule.inputs) | set(rule.dropped) == set(rule.legacy_form.inputs)
    assert len(rule.new_form.outputs) >= len(rule.legacy_form.outputs)


@pytest.mark.parametrize("kind", LEGACY)
def test_an_option_of_an_old_node_is_one_of_the_new(kind):
    rule = MIGRATION_RULES[kind]
    new = {widget.name: widget.options for widget in rule.new_form.widgets if widget.options}
    for widget in rule.legacy_form.widgets:
        target = rule.inputs.get(widget.name, "")
        assert target not in new or set(widget.options) <= set(new[target]) or not widget.options


@pytest.mark.parametrize("optional", [True, False], ids=["all linked", "only what is needed"])
@pytest.mark.parametrize("kind", LEGACY)
def test_both_formats_become_the_same_graph(kind, optional):
    graph = graph_of(kind, optional)
    workflow, changes, _ = migrate_workflow(graph.ui)
    prompt, api_changes, _ = migrate_prompt(graph.api)
    drawn = to_prompt(workflow)
    assert {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()} == {
        key: (node["class_type"], node["inputs"]) for key, node in drawn.items()
    }
    assert [change.old for change in changes] == [change.old for change in api_changes]
    assert not [node for node in drawn.values() if node["class_type"] in LEGACY_FORMS]


@pytest.mark.parametrize("kind", LEGACY)
def test_links_are_named_at_both_ends_and_have_one_type(kind):
    graph = graph_of(kind)
    assert faults(graph.ui) == []
    assert faults(migrate_workflow(graph.ui)[0]) == []


@pytest.mark.parametrize("kind", LEGACY)
def test_migrating_twice_changes_nothing_more(kind):
    once = migrate_workflow(graph_of(kind).ui)[0]
    twice, changes, _ = migrate_workflow(once)
    assert twice == once and changes == ()
    prompt = migrate_prompt(graph_of(kind).api)[0]
    assert migrate_prompt(prompt)[:2] == (prompt, ())


@pytest.mark.parametrize("kind", LEGACY)
def test_what_was_given_and_nodes_of_others_stay_as_they_are(kind):
    graph = graph_of(kind)
    given, api = graph.ui, graph.api
    before, api_before = copy.deepcopy(given), copy.deepcopy(api)
    workflow, prompt = migrate_workflow(given)[0], migrate_prompt(api)[0]
    assert given == before and api == api_before
    for old, new in zip(given["nodes"], workflow["nodes"], strict=True):
        if old["type"].startswith("Test") and not cut(old, workflow):
            assert json.dumps(new) == json.dumps(old)
    assert all(prompt[key] is node for key, node in api.items() if node["class_type"].startswith("Test"))


def cut(node, workflow) -> bool:
    """Whether a link of a node is no more."""
    left = {row[0] for row in workflow["links"]}
    return any(set(output["links"] or ()) - left for output in node["outputs"])


def test_place_title_and_colour_stay():
    given = graph_of("IPAdapterAdvanced").ui
    node_of(given, "IPAdapterAdvanced")["title"] = "my style"
    old, new = node_of(given, "IPAdapterAdvanced"), node_of(migrate_workflow(given)[0], "LegacyIPAdapter")
    for key in ("id", "pos", "size", "flags", "order", "mode", "color", "title"):
        assert new[key] == old[key]
    assert new["properties"] == {"Node name for S&R": "LegacyIPAdapter", "cnr_id": "image-prompt-adapter"}


def test_values_are_carried_over_by_name_not_by_place():
    values = {"weight": 0.7, "weight_type": "composition", "combine_embeds": "average", "start_at": 0.1, "end_at": 0.9}
    prompt = to_prompt(migrate_workflow(graph_of("IPAdapterAdvanced", embeds_scaling="K+V", **values).ui)[0])
    (made,) = (node for node in prompt.values() if node["class_type"] == "LegacyIPAdapter")
    assert made["inputs"].items() >= {**values, "embeds_scaling": "K+V"}.items()


def test_a_node_saved_before_a_widget_was_added_has_its_default():
    given = graph_of("IPAdapterAdvanced").ui
    node_of(given, "IPAdapterAdvanced")["widgets_values"] = [0.5, "linear"]
    prompt = to_prompt(migrate_workflow(given)[0])
    (made,) = (node for node in prompt.values() if node["class_type"] == "LegacyIPAdapter")
    assert (made["inputs"]["weight"], made["inputs"]["end_at"]) == (0.5, 1.0)


def test_a_linked_widget_keeps_its_link():
    graph = LegacyGraph()
    weights = graph.add_legacy("IPAdapterWeights")
    apply = graph.add_legacy("IPAdapterBatch")
    graph.nodes[apply][2]["weight"] = (weights, 0)
    workflow = migrate_workflow(graph.ui)[0]
    slot = next(slot for slot in node_of(workflow, "LegacyIPAdapter")["inputs"] if slot["name"] == "weight")
    assert slot["widget"] == {"name": "weight"} and slot["link"] is not None
    assert faults(workflow) == []
    assert migrate_prompt(graph.api)[0][str(apply)]["inputs"]["weight"] == [str(weights), 0]


def test_a_batch_node_goes_frame_by_frame():
    for kind, order in (("IPAdapterBatch", "frame by frame"), ("IPAdapterAdvanced", "together")):
        (made,) = (n for n in migrate_prompt(graph_of(kind).api)[0].values() if n["class_type"] == "LegacyIPAdapter")
        assert made["inputs"]["order"] == order


def test_a_link_that_is_not_needed_is_cut_at_both_ends_and_reported():
    workflow, changes, _ = migrate_workflow(graph_of("IPAdapterUnifiedLoader").ui)
    assert node_of(workflow, "LoadIPAdapter")["outputs"][0]["links"] == []
    finder = node_of(workflow, "FindIPAdapter")["id"]
    assert not [row for row in workflow["links"] if row[5] == "IP_ADAPTER" and row[3] == finder]
    assert any("ipadapter (linked)" in dropped for change in changes for dropped in change.dropped)


def test_what_reads_faces_stays_linked():
    workflow, _, _ = migrate_workflow(graph_of("IPAdapterFaceID").ui)
    (row,) = [row for row in workflow["links"] if row[5] == "INSIGHTFACE"]
    assert row[1] == node_of(workflow, "LoadInsightFace")["id"] and row[3] == node_of(workflow, "LegacyIPAdapter")["id"]
    assert faults(workflow) == []


def test_a_reroute_passes_on_the_new_type():
    given = graph_of("IPAdapterAdvanced").ui
    loader, apply = node_of(given, "IPAdapterModelLoader"), node_of(given, "IPAdapterAdvanced")
    row = next(row for row in given["links"] if row[5] == "IPADAPTER")
    given["links"].append([99, 77, 0, apply["id"], row[4], "IPADAPTER"])
    apply["inputs"][row[4]]["link"] = 99
    row[3:5] = [77, 0]
    reroute = {"id": 77, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": row[0]}]}
    reroute["outputs"] = [{"name": "IPADAPTER", "type": "IPADAPTER", "links": [99]}]
    given["nodes"].append(reroute)
    assert loader["outputs"][0]["links"] == [row[0]]
    workflow = migrate_workflow(given)[0]
    assert faults(workflow) == []
    assert node_of(workflow, "Reroute")["outputs"][0]["name"] == "IP_ADAPTER"


def test_a_node_of_another_pack_that_makes_old_adapters_is_warned_about_and_left():
    given = graph_of("IPAdapterAdvanced").ui
    node_of(given, "IPAdapterModelLoader")["type"] = "SomebodysLoader"
    before = json.dumps(node_of(given, "SomebodysLoader"))
    workflow, _, warnings = migrate_workflow(given)
    assert json.dumps(node_of(workflow, "SomebodysLoader")) == before
    assert any("SomebodysLoader" in warning and "LegacyIPAdapter" in warning for warning in warnings)


def in_subgraph(given: dict) -> dict:
    """A workflow all of whose nodes are in one subgraph, which shows the loader's file and takes a model."""
    inner = {key: given[key] for key in ("nodes", "links")}
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    inner["links"] = [dict(zip(names, row, strict=True)) for row in inner["links"]]
    loader = node_of(inner, "IPAdapterModelLoader")
    adapter = next(link for link in inner["links"] if link["type"] == "IPADAPTER")
    adapter |= {"origin_id": -10, "origin_slot": 0}
    loader["outputs"][0]["links"] = []
    inner |= {"id": "aaaa-bbbb", "name": "style", "outputs": []}
    inner["inputs"] = [{"name": "IPADAPTER", "type": "IPADAPTER", "linkIds": [adapter["id"]]}]
    shown = {"proxyWidgets": [[str(loader["id"]), "ipadapter_file"]]}
    outside = {"id": 1, "type": "IPAdapterModelLoader", "widgets_values": ["a.safetensors"], "inputs": []}
    outside["outputs"] = [{"name": "IPADAPTER", "type": "IPADAPTER", "links": [1]}]
    instance = {"id": 2, "type": "aaaa-bbbb", "properties": shown, "outputs": []}
    instance["inputs"] = [{"name": "IPADAPTER", "type": "IPADAPTER", "link": 1}]
    links = [[1, 1, 0, 2, 0, "IPADAPTER"]]
    return {"nodes": [outside, instance], "links": links, "definitions": {"subgraphs": [inner]}, "version": 0.4}


def test_nodes_in_subgraphs_are_replaced_with_what_is_around_them():
    workflow, changes, _ = migrate_workflow(in_subgraph(graph_of("IPAdapterAdvanced").ui))
    (inner,) = workflow["definitions"]["subgraphs"]
    instance = workflow["nodes"][1]
    assert {change.subgraph for change in changes} == {"", "style"}
    assert inner["inputs"][0]["type"] == instance["inputs"][0]["type"] == workflow["links"][0][5] == "IP_ADAPTER"
    assert not [link for link in inner["links"] if link["type"] == "IPADAPTER"]
    assert instance["properties"]["proxyWidgets"][0][1] == "ip_adapter_name"
    apply = node_of(inner, "LegacyIPAdapter")
    for link in inner["links"]:
        if link["target_id"] == apply["id"]:
            assert apply["inputs"][link["target_slot"]]["link"] == link["id"]


def test_an_old_name_of_an_option_becomes_the_later_one():
    graph = graph_of("IPAdapterAdvanced", weight_type="style transfer (SDXL)")
    (made,) = (n for n in migrate_prompt(graph.api)[0].values() if n["class_type"] == "LegacyIPAdapter")
    assert made["inputs"]["weight_type"] == "style transfer"


def test_a_value_that_the_new_node_does_not_offer_is_reported():
    changes = migrate_prompt(graph_of("IPAdapterAdvanced", weight_type="upside down").api)[1]
    assert "weight_type is 'upside down'" in notes(changes)


@pytest.mark.parametrize(("kind", "said"), [("linear", True), ("ease in", True), ("style transfer", False)])
def test_the_middle_block_is_spoken_of_where_it_makes_a_difference(kind, said):
    changes = migrate_workflow(graph_of("IPAdapterAdvanced", weight_type=kind).ui)[1]
    assert ("middle_block" in notes(changes)) == said


def test_the_black_picture_is_spoken_of_where_no_negative_image_is():
    for optional in (True, False):
        assert ("black picture" in notes(migrate_workflow(graph_of("IPAdapterAdvanced", optional).ui)[1])) != optional


def test_a_dropped_setting_is_reported_where_it_was_chosen():
    assert not any(change.dropped for change in migrate_prompt(graph_of("IPAdapterBatch").api)[1])
    (dropped,) = (
        change.dropped
        for change in migrate_prompt(graph_of("IPAdapterBatch", encode_batch_size=4).api)[1]
        if change.dropped
    )
    assert dropped == ("encode_batch_size = 4: pictures are always encoded a few at a time",)


def test_nodes_of_the_first_weeks_are_named_and_left():
    inputs = {"model": ["1", 0], "ipadapter": ["2", 0], "clip_vision_output": ["4", 0], "weight": 0.7}
    prompt = {"3": {"class_type": "IPAdapterApply", "inputs": inputs}}
    made, changes, warnings = migrate_prompt(prompt)
    assert made == prompt and changes == () and "first version" in warnings[0]


def test_a_group_node_with_old_nodes_in_it_is_named():
    group = {"nodes": [{"type": "IPAdapterAdvanced"}]}
    workflow = {"nodes": [], "links": [], "extra": {"groupNodes": {"style": group}}}
    assert "group node 'style'" in migrate_workflow(workflow)[2][0]


@pytest.mark.parametrize(
    "broken", [{"inputs": None}, {"outputs": None}, {"widgets_values": None}, {"properties": None}]
)
def test_a_node_that_lacks_a_part_is_replaced_all_the_same(broken):
    node = {"id": 4, "type": "IPAdapterUnifiedLoader", **broken}
    workflow = migrate_workflow({"nodes": [node], "links": []})[0]
    assert workflow["nodes"][0]["type"] == "FindIPAdapter"


@pytest.mark.parametrize("page", PAGES, ids=[page.file for page in PAGES])
def test_the_page_is_what_the_rules_say(page: MigrationPage):
    assert (ROOT / page.file).read_text(encoding="utf-8") == text_of(page), "run: python -m tools.migration_page"
