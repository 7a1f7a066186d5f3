"""Files that hold graphs one level down, and values that do not fit."""

from __future__ import annotations

import copy
import json

import pytest
from pack.ipadapter.legacy.migration.api_format import migrate_prompt
from pack.ipadapter.legacy.migration.documents import migration_of
from pack.ipadapter.legacy.migration.new_nodes import NEW_FORMS
from pack.ipadapter.legacy.migration.ui_format import migrate_workflow

from tests.legacy_graphs import first_graph_of, graph_of, to_prompt


def migrated(data: dict):
    """A file's content as the command makes it; what was given stays as it was."""
    migrate, before = migration_of(data), json.dumps(data)
    assert migrate is not None
    made = migrate(data)
    assert json.dumps(data) == before
    return made


@pytest.mark.parametrize("name", ["output", "prompt"])
def test_an_export_has_both_its_graphs_migrated_and_each_node_named_once(name):
    graph = graph_of("IPAdapterAdvanced")
    made, changes, _ = migrated({"workflow": graph.ui, name: graph.api, "other": 3})
    assert made == {"workflow": migrate_workflow(graph.ui)[0], name: migrate_prompt(graph.api)[0], "other": 3}
    assert changes == migrate_workflow(graph.ui)[1]


def copied(graph) -> dict:
    """A graph as old front ends copied it: links between places, nodes that do not know of theirs."""
    ui = copy.deepcopy(graph.ui)
    place = {node["id"]: index for index, node in enumerate(ui["nodes"])}
    links = [[place[row[1]], row[2], place[row[3]], row[4], row[1]] for row in ui["links"]]
    for node in ui["nodes"]:
        node["id"] = -1
        for slot in node["inputs"]:
            slot["link"] = None
        for slot in node["outputs"]:
            slot["links"] = []
    return {"nodes": ui["nodes"], "links": links}


@pytest.mark.parametrize("made", [graph_of, first_graph_of])
def test_a_template_of_an_old_front_end_is_migrated_with_its_links(made):
    graph = made("IPAdapterEncoder")
    data = {"templates": [{"name": "mine", "data": json.dumps(copied(graph))}, {"name": "other", "data": "{"}]}
    found, changes, _ = migrated(data)
    assert found["templates"][1] == data["templates"][1] and found["templates"][0]["name"] == "mine"
    assert json.loads(found["templates"][0]["data"]) == copied_again(migrate_workflow(graph.ui)[0])
    assert [change.new for change in changes] == [change.new for change in migrate_workflow(graph.ui)[1]]


def copied_again(workflow: dict) -> dict:
    """A workflow as an old front end would copy it."""

    class Held:
        ui = workflow

    return copied(Held)


def test_a_template_of_a_new_front_end_is_a_workflow():
    graph = graph_of("IPAdapterAdvanced")
    content = {"nodes": graph.ui["nodes"], "links": graph.ui["links"]}
    found, _, _ = migrated({"templates": [{"name": "a", "data": json.dumps(content)}]})
    expected = migrate_workflow(graph.ui)[0]
    assert json.loads(found["templates"][0]["data"]) == {key: expected[key] for key in ("nodes", "links")}


def test_a_template_without_old_nodes_keeps_its_text_to_the_letter():
    data = {"templates": [{"name": "a", "data": '{"nodes" : [{"id":-1,"type":"KSampler"}],"links":[]}'}]}
    assert migrated(data) == (data, (), ())


def test_nodes_of_one_number_are_each_replaced_by_their_own():
    nodes = [{"id": -1, "type": kind} for kind in ("IPAdapterNoise", "IPAdapterAdvanced", "Note")]
    made = migrate_workflow({"nodes": nodes, "links": []})[0]["nodes"]
    assert [node["type"] for node in made] == ["ImagePromptNoise", "LegacyIPAdapter", "Note"]


def advanced(values: list) -> tuple[dict, str]:
    """What becomes of an old node with these values in the front end's file, and the notes."""
    given = graph_of("IPAdapterAdvanced").ui
    next(node for node in given["nodes"] if node["type"] == "IPAdapterAdvanced")["widgets_values"] = values
    workflow, changes, _ = migrate_workflow(given)
    (made,) = (node["inputs"] for node in to_prompt(workflow).values() if node["class_type"] == "LegacyIPAdapter")
    return made, " ".join(note for change in changes for note in change.notes)


@pytest.mark.parametrize("odd", ["plus.bin", 7.5, True, float("nan"), [1], {}, "1e999"])
def test_a_value_that_is_no_weight_is_not_written_and_reported(odd):
    made, said = advanced([odd, "composition", "average", 0.2, 0.8, "K+V"])
    assert made["weight"] == 1.0 and made["weight_type"] == "composition" and made["end_at"] == 0.8
    assert f"weight is {odd!r}" in said and "a number from -1 to 5" in said


def test_values_are_not_shifted_into_others():
    made, said = advanced([0.6, "plus.bin", "fp16"])
    assert (made["weight"], made["weight_type"], made["combine_embeds"]) == (0.6, "linear", "concat")
    assert "weight_type is 'plus.bin'" in said and "combine_embeds is 'fp16'" in said


def test_values_of_no_widget_are_named():
    made, said = advanced([0.6, "linear", "concat", 0.0, 1.0, "V only", "more"])
    assert made["embeds_scaling"] == "V only" and "no widget for its last value(s): 'more'" in said


def test_a_value_in_a_prompt_keeps_its_name_and_is_reported():
    prompt, changes, _ = migrate_prompt(graph_of("IPAdapterAdvanced", weight=9).api)
    (made,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "LegacyIPAdapter")
    assert made["weight"] == 9
    assert any("weight is 9, and LegacyIPAdapter takes a number from -1 to 5" in n for c in changes for n in c.notes)


@pytest.mark.parametrize("kind", ["IPAdapterAdvanced", "IPAdapterWeights", "IPAdapterTiled"])
def test_a_prompt_that_says_little_gets_the_defaults_that_a_workflow_gets(kind):
    graph = graph_of(kind)
    prompt, workflow = graph.api, graph.ui
    for node in prompt.values():
        if node["class_type"] == kind:
            node["inputs"] = {name: value for name, value in node["inputs"].items() if isinstance(value, list)}
    for node in workflow["nodes"]:
        node["widgets_values"] = [] if node["type"] == kind else node["widgets_values"]
    made, drawn = migrate_prompt(prompt)[0], to_prompt(migrate_workflow(workflow)[0])
    key = max((key for key, node in graph.api.items() if node["class_type"] == kind), key=int)
    assert made[key]["inputs"] == drawn[key]["inputs"]


@pytest.mark.parametrize("form", NEW_FORMS.values(), ids=NEW_FORMS)
def test_a_default_fits_its_widget(form):
    assert [widget.name for widget in form.widgets if not widget.takes(widget.default)] == []
