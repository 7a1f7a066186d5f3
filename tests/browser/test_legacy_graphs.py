"""A graph of every node of another pack, opened where that pack is not: the front end's own button puts it right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from pack.ipadapter.legacy.migration.api_format import migrate_prompt
from pack.ipadapter.legacy.migration.forms import Form
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from pack.ipadapter.legacy.migration.moving import always
from pack.ipadapter.legacy.migration.new_nodes import NEW_FORMS
from pack.ipadapter.legacy.migration.opening import open_old
from pack.ipadapter.legacy.migration.room import HIDDEN, height_of, unfolded
from pack.ipadapter.legacy.migration.ui_format import migrate_workflow
from playwright.sync_api import Locator, Page, expect

from tests.browser.graphs import nodes, prompt
from tests.legacy_graphs import FIRST_FORMS, FIRST_MAKERS, LegacyGraph, form_of
from tests.plain.test_first_version import laksjdjf, laksjdjf_prompt
from tools.browser import open_workflow


def every_legacy_node() -> LegacyGraph:
    """One of each, linked among themselves."""
    return only_legacy(LegacyGraph(), LEGACY_FORMS)


def only_legacy(graph: LegacyGraph, forms: Mapping[str, Form]) -> LegacyGraph:
    """A graph with one of each, without the nodes that the tests make up."""
    for kind in sorted(forms):
        graph.add_legacy(kind)
    kept = {number for number, (kind, _, _) in graph.nodes.items() if kind in forms}
    nodes = {
        number: (kind, values, {name: link for name, link in links.items() if link[0] in kept})
        for number, (kind, values, links) in graph.nodes.items()
        if number in kept
    }
    return replace(graph, nodes=nodes)


HEIGHTS = """kinds => Object.fromEntries(kinds.map(kind => {
    const node = window.LiteGraph.createNode(kind);
    window.app.graph.add(node);
    return [kind, node.computeSize()[1]];
}))"""


def test_the_heights_that_migration_counts_on_are_the_canvas_own(page: Page) -> None:
    open_workflow(page, {"nodes": [], "links": [], "version": 0.4})
    assert page.evaluate(HEIGHTS, sorted(NEW_FORMS)) == {kind: height_of(form) for kind, form in NEW_FORMS.items()}


HEIGHTS_BY_ID = "() => Object.fromEntries(window.app.graph.nodes.map(node => [node.id, node.size[1]]))"
SLOTS = """() => {
    const [node] = window.app.graph.nodes;
    return [node.inputs.filter(slot => !slot.widget).length, node.outputs.length];
}"""
SHOW_ALL = """() => {
    const items = window.app.collectNodeMenuItems(window.app.graph.nodes[0]);
    items.find(item => item?.content === 'Show All Inputs').callback();
}"""
NODES_2 = "is => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', is)"
MORE = """() => window.app.graph.nodes.map(node => {
    const before = node.computeSize()[1];
    node.toggleAdvanced();
    return [node.type, node.computeSize()[1] - before];
})"""
TITLE, GAP = 30, 10


def stacked(graph: LegacyGraph) -> dict[str, Any]:
    """Every old node at its least height, one below the other."""
    workflow, top = graph.ui, 0
    for node in workflow["nodes"]:
        height = height_of(form_of(node["type"], graph.forms))
        node |= {"pos": [0, top], "size": [400, height]}
        top += height + TITLE + GAP
    return workflow


def heights(workflow: dict[str, Any]) -> dict[str, float]:
    return {str(node["id"]): node["size"][1] for node in workflow["nodes"]}


def every_first_node() -> LegacyGraph:
    """One of each of the first version that needs no other, in its last form."""
    return only_legacy(LegacyGraph(forms=FIRST_FORMS, makers=FIRST_MAKERS), FIRST_FORMS)


GRAPHS = {"version 2": every_legacy_node, "version 1": every_first_node}


@pytest.mark.parametrize("version", GRAPHS)
def test_a_migrated_workflow_is_drawn_in_the_room_of_the_old_one(version: str, page: Page) -> None:
    """With what is linked, and opened again after it was saved."""
    given = stacked(GRAPHS[version]())
    workflow, changes, _ = migrate_workflow(given)
    assert len(changes) == len(given["nodes"]) and heights(workflow) == heights(given)
    asked = []
    for _ in range(2):
        open_workflow(page, workflow)
        page.wait_for_timeout(500)  # the canvas makes nodes larger as it draws them
        assert page.evaluate(HEIGHTS_BY_ID) == heights(given)
        asked.append(prompt(page))
        workflow = page.evaluate("() => window.app.graph.serialize()")
    assert asked[0] == asked[1]


CRAMPED = {
    **{"id": 1, "type": "LegacyIPAdapter", "pos": [0, 0], "size": [300, 190]},
    "properties": {HIDDEN: ["insightface", "face_image", "noise"]},
}


def test_all_inputs_are_shown_on_demand(page: Page) -> None:
    form = NEW_FORMS["LegacyIPAdapter"]
    open_workflow(page, {"nodes": [CRAMPED], "links": []})
    assert page.evaluate(SLOTS) == [len(form.sockets) - 1, len(form.outputs) - 1]
    page.evaluate(SHOW_ALL)
    assert page.evaluate(SLOTS) == [len(form.sockets), len(form.outputs)]


@pytest.fixture
def nodes_2(page: Page) -> Iterator[Page]:
    page.evaluate(NODES_2, True)
    yield page
    page.evaluate(NODES_2, False)


def test_nodes_2_hides_the_same_and_has_no_button_for_it(nodes_2: Page) -> None:
    open_workflow(nodes_2, {"nodes": [CRAMPED], "links": []})
    node = nodes_2.locator("[data-node-id='1']")
    expect(node).to_contain_text("attn_mask")
    seen = ("weight_type", "noise", "insightface", "advanced")
    assert [word in node.inner_text() for word in seen] == [True, False, False, False]
    nodes_2.evaluate(SHOW_ALL)
    expect(node).to_contain_text("insightface")
    expect(node).to_contain_text("noise")


def test_hidden_inputs_are_shown_on_demand(page: Page) -> None:
    open_workflow(
        page, {"nodes": [{"id": 1, "type": "LegacyIPAdapter", "pos": [0, 0], "size": [300, 250]}], "links": []}
    )
    form = NEW_FORMS["LegacyIPAdapter"]
    assert page.evaluate(MORE) == [[form.id, height_of(unfolded(form)) - height_of(form)]]


SAVED = "() => window.app.graph.serialize()"
REPLACED = "old IP-Adapter node(s) replaced"
UNDONE = "() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.undo()"
CAN_UNDO = "() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length > 0"
KINDS = "() => window.app.graph.nodes.map(node => node.type).sort()"


def said(page: Page) -> Locator:
    """The message about what was replaced, however a front end draws it."""
    return page.get_by_role("alert").filter(has_text=REPLACED).last


def test_a_graph_of_the_first_version_is_replaced_as_it_opens_and_undo_takes_it_back(page: Page) -> None:
    given = stacked(every_first_node())
    expected = open_old(given, always, lambda form: False)
    open_workflow(page, given)
    told = said(page)
    expect(told).to_contain_text(expected.title)
    told.get_by_role("button").click()
    assert page.evaluate(KINDS) == sorted(node["type"] for node in expected.graph["nodes"])
    page.wait_for_function(CAN_UNDO)
    page.evaluate(UNDONE)
    assert page.evaluate(KINDS) == sorted(node["type"] for node in given["nodes"])


def test_another_packs_node_of_the_same_name_stays_as_it_was(page: Page) -> None:
    given = laksjdjf()
    open_workflow(page, given)
    assert page.evaluate(KINDS) == ["IPAdapter (laksjdjf/IPAdapter-ComfyUI)"]
    assert [node["known"] for node in nodes(page)] == [False]
    (saved,) = page.evaluate(SAVED)["nodes"]
    assert {key: saved[key] for key in given["nodes"][0]} == given["nodes"][0]
    assert page.get_by_test_id("error-group-swap-nodes").count() == 0


DROPPED = """prompt => window.app.handleFile(new File(
    [JSON.stringify(prompt)], "old.json", { type: "application/json" }
))"""
HAS = "count => window.app.graph.nodes.length === count"


@pytest.mark.parametrize("version", GRAPHS)
def test_a_prompt_is_replaced_as_it_is_dropped(version: str, page: Page) -> None:
    """The front end makes a graph of it, without nodes that it does not know."""
    expected, changes, _ = migrate_prompt(GRAPHS[version]().api)
    open_workflow(page, {"nodes": [], "links": [], "version": 0.4})
    page.evaluate(DROPPED, GRAPHS[version]().api)
    page.wait_for_function(HAS, arg=len(expected))
    told = said(page)
    expect(told).to_contain_text(f"{len(changes)} {REPLACED}")
    told.get_by_role("button").click()
    made = prompt(page)
    assert {key: node["class_type"] for key, node in made.items()} == {
        key: node["class_type"] for key, node in expected.items()
    }
    for key, node in expected.items():
        assert {name: made[key]["inputs"].get(name) for name in node["inputs"]} == node["inputs"]


def test_another_packs_node_in_a_prompt_is_named_as_missing(page: Page) -> None:
    open_workflow(page, {"nodes": [], "links": [], "version": 0.4})
    load = {"1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}}
    page.evaluate(DROPPED, {**load, **laksjdjf_prompt()})
    expect(page.locator("body")).to_contain_text("IPAdapter (laksjdjf/IPAdapter-ComfyUI)")
    kinds = page.evaluate(KINDS)  # newer front ends keep the place of what they do not know
    assert "EmptyLatentImage" in kinds and "IPAdapter" not in kinds


@pytest.fixture(scope="module")
def replaced(page: Page) -> tuple[LegacyGraph, dict[str, dict[str, Any]], dict[str, float]]:
    """The graph, what the front end would queue of it after its button was pressed, and heights before that."""
    graph = every_legacy_node()
    open_workflow(page, stacked(graph))
    page.wait_for_timeout(500)
    before = page.evaluate(HEIGHTS_BY_ID)
    page.get_by_test_id("error-overlay-see-errors").click()
    page.get_by_test_id("error-group-swap-nodes").get_by_role("button", name="Replace All").click()
    page.wait_for_function("() => !window.app.graph.nodes.some(node => node.type.startsWith('IPA'))")
    return graph, prompt(page), before


def test_no_old_node_is_left_and_none_is_unknown(page: Page, replaced) -> None:
    found = nodes(page)
    assert found and not {node["type"] for node in found} & set(LEGACY_FORMS)
    assert all(node["known"] for node in found)


def test_no_node_is_larger_than_the_one_it_replaces(page: Page, replaced) -> None:
    page.wait_for_timeout(500)  # the canvas makes nodes larger as it draws them
    assert page.evaluate(HEIGHTS_BY_ID) == replaced[2]


def test_it_is_the_graph_that_the_command_makes(replaced) -> None:
    graph, made, _ = replaced
    expected, _, _ = migrate_prompt(graph.api)
    assert made.keys() == expected.keys()
    for number, node in expected.items():
        given = made[number]
        assert given["class_type"] == node["class_type"]
        assert {name: given["inputs"].get(name) for name in node["inputs"]} == node["inputs"], graph.nodes[int(number)][
            0
        ]
