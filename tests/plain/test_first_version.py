"""Graphs of the old pack's first version, and nodes that only look like the old pack's."""

from __future__ import annotations

import json

import pytest
from pack.ipadapter.legacy.migration.api_format import migrate_prompt
from pack.ipadapter.legacy.migration.first_rules import FIRST_RULES
from pack.ipadapter.legacy.migration.recognise import CANDIDATES
from pack.ipadapter.legacy.migration.ui_format import migrate_workflow

from tests.legacy_graphs import FIRST_FORMS, FIRST_MAKERS, LegacyGraph, faults, first_graph_of, graph_of, to_prompt

FIRST = sorted(FIRST_FORMS)


def only(prompt, kind: str) -> dict:
    """The inputs of the one node of a class."""
    (found,) = (node["inputs"] for node in prompt.values() if node["class_type"] == kind)
    return found


def notes(changes) -> str:
    return " ".join(note for change in changes for note in change.notes)


@pytest.mark.parametrize("rule", FIRST_RULES, ids=lambda rule: f"{rule.legacy}-{len(rule.legacy_form.inputs)}")
def test_every_rule_carries_over_to_inputs_that_the_new_node_has(rule):
    known = {one.name: one for one in rule.new_form.widgets}
    assert {*rule.inputs.values(), *rule.fixed} <= set(rule.new_form.inputs)
    assert set(rule.inputs) | set(rule.dropped) == set(rule.legacy_form.inputs)
    assert len(rule.new_form.outputs) >= len(rule.legacy_form.outputs)
    for widget in rule.legacy_form.widgets:
        chosen = widget.options or ((True, False) if widget.kind == "BOOLEAN" else (widget.default,))
        if widget.name in rule.inputs:
            new = known[rule.inputs[widget.name]]
            assert all(new.takes(rule.translate(widget.name, value)) for value in chosen), widget.name


@pytest.mark.parametrize("optional", [True, False], ids=["all linked", "only what is needed"])
@pytest.mark.parametrize("kind", FIRST)
def test_both_formats_become_the_same_whole_graph(kind, optional):
    graph = first_graph_of(kind, optional)
    assert faults(graph.ui) == []
    workflow, changes, _ = migrate_workflow(graph.ui)
    prompt, api_changes, _ = migrate_prompt(graph.api)
    assert faults(workflow) == []
    assert {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()} == {
        key: (node["class_type"], node["inputs"]) for key, node in to_prompt(workflow).items()
    }
    assert [change.old for change in changes] == [change.old for change in api_changes]
    assert not [node for node in prompt.values() if node["class_type"] in CANDIDATES]
    assert migrate_prompt(prompt)[1] == () == migrate_workflow(workflow)[1]


FACE = {"weight": 0.8, "noise": 0.3, "weight_type": "channel penalty", "start_at": 0.1, "end_at": 0.9}


def test_all_that_was_chosen_on_a_face_node_is_carried_over():
    graph = first_graph_of("IPAdapterApplyFaceID", **FACE, faceid_v2=True, weight_v2=1.4, unfold_batch=True)
    prompt, changes, _ = migrate_prompt(graph.api)
    expected = {
        "weight": 0.8,
        "noise": 0.3,
        "embeds_scaling": "K+mean(V) w/ C penalty",
        "weight_type": "linear",
        "start_at": 0.1,
        "end_at": 0.9,
        "weight_faceidv2": 1.4,
        "order": "frame by frame",
    }
    assert only(prompt, "LegacyIPAdapter").items() >= expected.items()
    assert any("faceid_v2 = True" in dropped for change in changes for dropped in change.dropped)
    assert "noisy copy" in notes(changes) and "black picture" not in notes(changes)


@pytest.mark.parametrize(
    ("old", "new"), [("original", "V only"), ("linear", "K+V"), ("channel penalty", "K+mean(V) w/ C penalty")]
)
def test_a_weight_type_is_a_scaling_here(old, new):
    prompt = migrate_prompt(first_graph_of("IPAdapterApplyEncoded", weight_type=old).api)[0]
    made = only(prompt, "LegacyIPAdapterEmbeds")
    assert (made["embeds_scaling"], made["weight_type"]) == (new, "linear")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
def test_a_node_saved_before_an_input_was_added_has_its_default(count):
    given = first_graph_of("IPAdapterApply", weight=0.6, noise=0.2, start_at=0.3, unfold_batch=True).ui
    node = next(node for node in given["nodes"] if node["type"] == "IPAdapterApply")
    node["widgets_values"] = node["widgets_values"][:count]
    made = only(to_prompt(migrate_workflow(given)[0]), "LegacyIPAdapter")
    assert made["weight"] == 0.6 and made["noise"] == (0.2 if count > 1 else 0.0)
    assert made["start_at"] == (0.3 if count > 3 else 0.0)
    assert made["order"] == ("frame by frame" if count > 5 else "together")


def test_weights_and_noise_of_the_encoder_keep_their_pictures():
    given = first_graph_of("IPAdapterEncoder", ipadapter_plus=True, noise=0.25, weight_1=0.8, weight_3=0.4)
    prompt, changes, _ = migrate_prompt(given.api)
    made = only(prompt, "LegacyIPAdapterFirstEncoder")
    assert [made[f"weight_{place}"] for place in range(1, 5)] == [0.8, 1.0, 0.4, 1.0] and made["noise"] == 0.25
    assert all(isinstance(made[f"image_{place}"], list) for place in range(1, 5))
    assert "ipadapter_plus" not in made and only(prompt, "TestSink")["any"][1] == 0


def test_the_earliest_encoder_had_one_picture():
    inputs = {"clip_vision": ["1", 0], "image": ["2", 0], "plus": True, "noise": 0.1}
    made = migrate_prompt({"3": {"class_type": "IPAdapterEncoder", "inputs": inputs}})[0]["3"]
    assert made["class_type"] == "LegacyIPAdapterFirstEncoder"
    assert (made["inputs"]["image_1"], made["inputs"]["noise"]) == (["2", 0], 0.1)


def test_the_two_encoders_of_one_name_are_told_apart():
    first, second = (made("IPAdapterEncoder").ui for made in (first_graph_of, graph_of))
    for given, kind in ((first, "LegacyIPAdapterFirstEncoder"), (second, "LegacyIPAdapterEncoder")):
        assert kind in {node["type"] for node in migrate_workflow(given)[0]["nodes"]}


def test_a_link_whose_values_are_called_otherwise_here_is_cut_and_named():
    graph = LegacyGraph(forms=FIRST_FORMS, makers=FIRST_MAKERS)
    switch = graph.add("TestSwitch")
    apply = graph.add_legacy("IPAdapterApply")
    prompt = graph.api
    prompt[str(apply)]["inputs"]["unfold_batch"] = [str(switch), 0]
    made, changes, _ = migrate_prompt(prompt)
    assert made[str(apply)]["inputs"]["order"] == "together"
    assert any("unfold_batch (linked)" in dropped for change in changes for dropped in change.dropped)


def early_graph() -> dict:
    """What fed the node that applied in its first weeks."""
    return {
        "1": {"class_type": "IPAdapterModelLoader", "inputs": {"ipadapter_file": "a.bin"}},
        "2": {"class_type": "IPAdapterCLIPVisionEncode", "inputs": {"clip_vision": ["9", 0], "image": ["8", 0]}},
        "3": {
            "class_type": "IPAdapterApply",
            "inputs": {"model": ["7", 0], "ipadapter": ["1", 0], "clip_vision_output": ["2", 0], "weight": 1.0},
        },
        "4": {"class_type": "IPAdapterModelLoader", "inputs": {"ipadapter_file": "b.bin"}},
    }


def test_what_feeds_a_node_that_stays_stays_with_it():
    given = early_graph()
    made, changes, warnings = migrate_prompt(given)
    assert [made[key] is given[key] for key in "1234"] == [True, True, True, False]
    assert [change.node for change in changes] == ["4"] and len(warnings) == 3


def laksjdjf() -> dict:
    """Another pack's node of the same name, as the front end saves it."""
    slots = [{"name": name, "type": name.upper(), "link": None} for name in ("model", "image", "clip_vision")]
    outputs = [{"name": name, "type": name, "links": None} for name in ("MODEL", "CLIP_VISION_OUTPUT")]
    node = {"id": 4, "type": "IPAdapter", "pos": [0, 0], "size": [300, 250], "inputs": slots, "outputs": outputs}
    return {"nodes": [{**node, "widgets_values": [0.6, "plus.bin", "fp16"]}], "links": [], "version": 0.4}


def laksjdjf_prompt() -> dict:
    """The same as programs send it."""
    inputs = {"model": ["1", 0], "image": ["2", 0], "clip_vision": ["3", 0], "weight": 1, "model_name": "a.bin"}
    return {"5": {"class_type": "IPAdapter", "inputs": {**inputs, "dtype": "fp16"}}}


def test_another_packs_node_of_the_same_name_is_left_alone():
    given = laksjdjf()
    made, changes, warnings = migrate_workflow(given)
    assert json.dumps(made) == json.dumps(given) and changes == warnings == ()
    prompt = laksjdjf_prompt()
    assert migrate_prompt(prompt) == (prompt, (), ())


def test_a_node_with_inputs_that_nobody_knows_is_named_and_left():
    prompt = {"5": {"class_type": "IPAdapterBatch", "inputs": {"pictures": ["1", 0], "model": ["2", 0]}}}
    made, changes, warnings = migrate_prompt(prompt)
    assert made == prompt and changes == () and "(pictures)" in warnings[0]
