"""A graph of every node of another pack, opened where that pack is not: the front end's own button puts it right."""

from __future__ import annotations

from typing import Any

import pytest
from pack.ipadapter.legacy.migration.api_format import migrate_prompt
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from pack.ipadapter.legacy.migration.new_nodes import NEW_FORMS
from pack.ipadapter.legacy.migration.room import GAP, TITLE, box_of, height_of, unfolded
from pack.ipadapter.legacy.migration.ui_format import migrate_workflow
from playwright.sync_api import Page

from tests.browser.graphs import nodes, prompt
from tests.legacy_graphs import LegacyGraph, form_of
from tools.browser import open_workflow


def every_legacy_node() -> LegacyGraph:
    """One of each, linked among themselves."""
    graph = LegacyGraph()
    for kind in sorted(LEGACY_FORMS):
        graph.add_legacy(kind)
    return graph


def only_legacy(graph: LegacyGraph) -> LegacyGraph:
    """Without the nodes that the tests make up."""
    kept = {number for number, (kind, _, _) in graph.nodes.items() if kind in LEGACY_FORMS}
    return LegacyGraph(
        {
            number: (kind, values, {name: link for name, link in links.items() if link[0] in kept})
            for number, (kind, values, links) in graph.nodes.items()
            if number in kept
        }
    )


HEIGHTS = """kinds => Object.fromEntries(kinds.map(kind => {
    const node = window.LiteGraph.createNode(kind);
    window.app.graph.add(node);
    return [kind, node.computeSize()[1]];
}))"""


def test_the_heights_that_migration_counts_on_are_the_canvas_own(page: Page) -> None:
    open_workflow(page, {"nodes": [], "links": [], "version": 0.4})
    assert page.evaluate(HEIGHTS, sorted(NEW_FORMS)) == {kind: height_of(form) for kind, form in NEW_FORMS.items()}


SIZES = "() => Object.fromEntries(window.app.graph.nodes.map(node => [node.id, node.size[1]]))"
MORE = """() => window.app.graph.nodes.map(node => {
    const before = node.computeSize()[1];
    node.toggleAdvanced();
    return [node.type, node.computeSize()[1] - before];
})"""


def stacked() -> dict[str, Any]:
    """Every old node at its least height, one below the other."""
    workflow, top = only_legacy(every_legacy_node()).ui, 0
    for node in workflow["nodes"]:
        height = height_of(form_of(node["type"]))
        node |= {"pos": [0, top], "size": [400, height]}
        top += height + TITLE + GAP
    return workflow


def test_a_migrated_workflow_is_drawn_in_the_room_that_was_made_for_it(page: Page) -> None:
    workflow, _, _ = migrate_workflow(stacked())
    boxes = [box for box in map(box_of, workflow["nodes"]) if box is not None]
    assert not [one for one in boxes for other in boxes if one is not other and one.covers(other)]
    open_workflow(page, workflow)
    page.wait_for_timeout(500)  # the canvas makes nodes larger as it draws them
    assert page.evaluate(SIZES) == {str(node["id"]): node["size"][1] for node in workflow["nodes"]}


def test_hidden_inputs_are_shown_on_demand(page: Page) -> None:
    open_workflow(
        page, {"nodes": [{"id": 1, "type": "LegacyIPAdapter", "pos": [0, 0], "size": [300, 250]}], "links": []}
    )
    form = NEW_FORMS["LegacyIPAdapter"]
    assert page.evaluate(MORE) == [[form.id, height_of(unfolded(form)) - height_of(form)]]


@pytest.fixture(scope="module")
def replaced(page: Page) -> tuple[LegacyGraph, dict[str, dict[str, Any]]]:
    """The graph, and what the front end would queue of it after its button was pressed."""
    graph = only_legacy(every_legacy_node())
    open_workflow(page, graph.ui)
    page.get_by_test_id("error-overlay-see-errors").click()
    page.get_by_test_id("error-group-swap-nodes").get_by_role("button", name="Replace All").click()
    page.wait_for_function("() => !window.app.graph.nodes.some(node => node.type.startsWith('IPA'))")
    return graph, prompt(page)


def test_no_old_node_is_left_and_none_is_unknown(page: Page, replaced) -> None:
    found = nodes(page)
    assert found and not {node["type"] for node in found} & set(LEGACY_FORMS)
    assert all(node["known"] for node in found)


def test_it_is_the_graph_that_the_command_makes(replaced) -> None:
    graph, made = replaced
    expected, _, _ = migrate_prompt(graph.api)
    assert made.keys() == expected.keys()
    for number, node in expected.items():
        given = made[number]
        assert given["class_type"] == node["class_type"]
        assert {name: given["inputs"].get(name) for name in node["inputs"]} == node["inputs"], graph.nodes[int(number)][
            0
        ]
