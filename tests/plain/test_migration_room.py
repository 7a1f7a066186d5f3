"""A canvas after migration: no node is larger than the one it replaces."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
from pack.ipadapter.legacy.migration.forms import Form, sockets
from pack.ipadapter.legacy.migration.new_nodes import NEW_FORMS
from pack.ipadapter.legacy.migration.recognise import CANDIDATES
from pack.ipadapter.legacy.migration.room import HIDDEN, STAND_IN, WIDGET, button_of, height_of
from pack.ipadapter.legacy.migration.rules import MigrationRule
from pack.ipadapter.legacy.migration.ui_format import migrate_workflow

from tests.legacy_graphs import LegacyGraph

RULES = [one for known in CANDIDATES.values() for one in known if isinstance(one, MigrationRule)]
SCRIPT = Path(__file__).resolve().parents[2] / "web" / "js" / "legacy.js"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.legacy}-{len(rule.legacy_form.inputs)}")
def test_a_new_node_fits_where_the_old_one_was(rule):
    """All of it, or without what the old one had not."""
    heights = [height_of(form) for form in (rule.new_form, rule.new_form.without(rule.lacking))]
    assert min(heights) <= height_of(rule.legacy_form)


def test_the_script_knows_every_node_that_may_have_to_hide_something():
    needs = [(rule, height_of(rule.new_form) + button_of(rule.new_form)) for rule in RULES]
    larger = {rule.new for rule, height in needs if height > height_of(rule.legacy_form)}
    (listed,) = re.findall(r"^const OTHERS = (.+);$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name in larger if not name.startswith(STAND_IN)} == set(json.loads(listed))


def node(number: int, kind: str, x: float, y: float, height: float) -> dict:
    return {"id": number, "type": kind, "pos": [x, y], "size": [300, height]}


def migrated(nodes: list[dict]) -> list[dict]:
    given = {"nodes": nodes, "links": [], "version": 0.4}
    before = copy.deepcopy(given)
    made = migrate_workflow(given)[0]["nodes"]
    assert given == before
    return made


def test_a_node_hides_what_the_old_one_had_not_and_nothing_moves():
    given = [node(1, "IPAdapter", 0, 0, 190), node(2, "KSampler", 20, 230, 100)]
    made = migrated(given)
    assert made[0]["type"] == "LegacyIPAdapter" and made[0]["size"] == [300, 190] and made[1] == given[1]
    hidden = made[0]["properties"][HIDDEN]
    assert {"image_negative", "clip_vision", "insightface", "noise", "face_image"} <= set(hidden)
    assert not {"model", "ipadapter", "image", "attn_mask", "weight", "weight_type", "MODEL"} & set(hidden)


@pytest.mark.parametrize("size", [[300, 274], {"0": 300, "1": 274.5}])
def test_a_node_with_room_for_all_hides_nothing(size):
    (made,) = migrated([node(1, "IPAdapter", 0, 0, 0) | {"size": size}])
    assert HIDDEN not in made["properties"] and made["size"] == size


def test_a_collapsed_node_stays_so():
    collapsed = node(1, "IPAdapter", 0, 500, 190) | {"flags": {"collapsed": True}}
    (made,) = migrated([collapsed])
    assert made["flags"] == {"collapsed": True} and made["size"] == [300, 190]


@pytest.mark.parametrize(
    "broken", [{"pos": None}, {"size": [1]}, {"size": {"0": 1}}, {"size": [1, "b"]}, {"size": "wide"}]
)
def test_a_node_that_does_not_say_where_it_is_is_left_there(broken):
    made = migrated([{**node(1, "IPAdapter", 0, 0, 190), **broken}, node(2, "Note", 0, 230, 50)])
    assert made[1]["pos"] == [0, 230] and made[0]["type"] == "LegacyIPAdapter"


def test_an_advanced_input_with_a_link_is_shown_and_no_other():
    graph = LegacyGraph()
    weights = graph.add_legacy("IPAdapterWeights")
    apply = graph.add_legacy("IPAdapterFaceID")
    graph.nodes[apply][2]["weight_faceidv2"] = (weights, 0)
    made = next(one for one in migrate_workflow(graph.ui)[0]["nodes"] if one["id"] == apply)
    form = NEW_FORMS["LegacyIPAdapter"]
    assert height_of(form, {"weight_faceidv2"}) == height_of(form) + WIDGET
    assert not set(made["properties"].get(HIDDEN, ())) & {"weight_faceidv2", "image_negative"}


def test_heights_are_those_of_slots_and_widgets():
    assert height_of(Form("Note")) == 26
    assert height_of(Form("Other", sockets("a:IMAGE b:IMAGE"))) == 46
