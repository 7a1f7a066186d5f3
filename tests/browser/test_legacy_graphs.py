"""A graph of every node of another pack, opened where that pack is not: the front end's own button puts it right."""

from __future__ import annotations

from typing import Any

import pytest
from pack.ipadapter.legacy.migration.api_format import migrate_prompt
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from pack.ipadapter.legacy.migration.new_nodes import NEW_FORMS
from pack.ipadapter.legacy.migration.room import height_of
from playwright.sync_api import Page

from tests.browser.graphs import nodes, prompt
from tests.legacy_graphs import LegacyGraph
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
