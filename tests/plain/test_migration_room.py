"""A canvas after migration: what grew covers nobody that it did not cover before."""

from __future__ import annotations

import copy

import pytest
from pack.ipadapter.legacy.migration.forms import Form, sockets
from pack.ipadapter.legacy.migration.new_nodes import NEW_FORMS
from pack.ipadapter.legacy.migration.recognise import CANDIDATES
from pack.ipadapter.legacy.migration.room import GAP, TITLE, box_of, height_of, two_numbers, unfolded
from pack.ipadapter.legacy.migration.rules import MigrationRule
from pack.ipadapter.legacy.migration.ui_format import migrate_workflow

from tests.legacy_graphs import LegacyGraph

RULES = [one for known in CANDIDATES.values() for one in known if isinstance(one, MigrationRule)]
MAY_GROW = {  # old nodes whose new ones have more sockets or widgets than they had
    *("IPAdapter", "IPAdapterUnifiedLoader", "IPAdapterUnifiedLoaderCommunity", "IPAdapterWeightsFromStrategy"),
    *("IPAdapterNoise", "PrepImageForClipVision", "PrepImageForInsightFace", "IPAdapterSaveEmbeds"),
    *("InsightFaceLoader", "IPAdapterApplyEncoded", "IPAdapterTilesMasked", "IPAdapterBatchEmbeds"),
    *("IPAdapterEncoder",),  # its earliest form had one picture
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.legacy}-{len(rule.legacy_form.inputs)}")
def test_a_new_node_is_no_higher_than_the_old_one(rule):
    assert height_of(rule.new_form) <= height_of(rule.legacy_form) or rule.legacy in MAY_GROW


def node(number: int, kind: str, x: float, y: float, height: float, as_object: bool = False) -> dict:
    size = {"0": 300, "1": height} if as_object else [300, height]
    return {"id": number, "type": kind, "pos": {"0": x, "1": y} if as_object else [x, y], "size": size}


def column(as_object: bool = False) -> list[dict]:
    """An old node that will grow, two others right below it, and one beside."""
    kinds = ("IPAdapter", "KSampler", "VAEDecode", "Note")
    places = ((0, 0, 190), (20, 230, 100), (0, 400, 50), (330, 100, 300))
    return [
        node(number, kind, *place, as_object) for number, (kind, place) in enumerate(zip(kinds, places, strict=True))
    ]


def migrated(nodes: list[dict]) -> list[dict]:
    given = {"nodes": nodes, "links": [], "version": 0.4}
    before = copy.deepcopy(given)
    made = migrate_workflow(given)[0]["nodes"]
    assert given == before
    return made


@pytest.mark.parametrize("as_object", [False, True])
def test_what_would_be_covered_is_pushed_down_and_nothing_else_moves(as_object):
    given = column(as_object)
    made = migrated(given)
    boxes = [box_of(one) for one in made]
    assert made[0]["type"] == "LegacyIPAdapter" and boxes[0].height - TITLE == 250
    assert not any(one.covers(other) for one in boxes for other in boxes if one is not other)
    assert boxes[1].top == boxes[0].bottom + GAP and boxes[2].top == boxes[1].bottom + GAP
    assert made[3] == given[3] and made[1]["pos"].keys() == {"0", "1"} if as_object else made[3] == given[3]


def test_nodes_that_lay_over_each_other_before_stay():
    given = [node(1, "IPAdapter", 0, 0, 190), node(2, "Note", 0, 100, 50)]
    assert migrated(given)[1] == given[1]


def test_two_nodes_that_grow_one_below_the_other_stay_apart():
    given = [node(1, "IPAdapter", 0, 0, 190), node(2, "IPAdapter", 0, 225, 190)]
    first, second = (box_of(one) for one in migrated(given))
    assert second.top == first.bottom + GAP and second.height - TITLE == 250


def test_a_node_with_room_to_spare_keeps_its_size_and_a_collapsed_one_its_title():
    roomy, collapsed = node(1, "IPAdapter", 0, 0, 400), node(2, "IPAdapter", 0, 500, 190)
    collapsed["flags"] = {"collapsed": True}
    below = node(3, "Note", 0, 545, 50)
    made = migrated([roomy, collapsed, below])
    assert [one["size"] for one in made] == [one["size"] for one in (roomy, collapsed, below)]
    assert made[2] == below


@pytest.mark.parametrize("broken", [{"pos": None}, {"size": [1]}, {"pos": ["a", "b"]}, {"size": "wide"}])
def test_a_node_that_does_not_say_where_it_is_is_left_there(broken):
    made = migrated([{**node(1, "IPAdapter", 0, 0, 190), **broken}, node(2, "Note", 0, 230, 50)])
    assert made[1]["pos"] == [0, 230] and made[0]["type"] == "LegacyIPAdapter"


def test_a_link_into_a_hidden_input_shows_it():
    graph = LegacyGraph()
    weights = graph.add_legacy("IPAdapterWeights")
    apply = graph.add_legacy("IPAdapterFaceID")
    graph.nodes[apply][2]["weight_faceidv2"] = (weights, 0)
    made = next(one for one in migrate_workflow(graph.ui)[0]["nodes"] if one["id"] == apply)
    assert made["showAdvanced"] is True and two_numbers(made["size"])[1] == height_of(
        unfolded(NEW_FORMS["LegacyIPAdapter"])
    )


def test_heights_are_those_of_slots_and_widgets():
    assert height_of(Form("Note")) == 26
    assert height_of(Form("Other", sockets("a:IMAGE b:IMAGE"))) == 46
