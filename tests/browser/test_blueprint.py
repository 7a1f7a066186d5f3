"""The blueprint **Image prompt**: found among the nodes, and a whole image prompt in one node and three links."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.browser.graphs import prompt
from tools.browser import open_workflow
from tools.workflows.blueprint import BLUEPRINT, NAME

CONNECT = """() => {
    const graph = window.app.graph
    const add = type => graph.add(window.LiteGraph.createNode(type))
    const [whole] = graph.nodes
    add('CheckpointLoaderSimple'); add('LoadImage'); add('KSampler')
    const named = type => graph.nodes.find(node => node.type === type)
    named('CheckpointLoaderSimple').connect(0, whole, 0)
    named('LoadImage').connect(0, whole, 1)
    whole.connect(0, named('KSampler'), 0)
    whole.widgets.find(widget => widget.name === 'preset').value = 'STANDARD (medium strength)'
    whole.widgets.find(widget => widget.name === 'weight').value = 0.7
    return graph.links.size ?? Object.keys(graph.links).length
}"""


def test_it_is_the_first_that_is_found_for_its_name(page: Page) -> None:
    page.evaluate("window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.get_by_placeholder("Add a node...").fill("image prompt")
    first = page.get_by_role("option").first
    expect(first).to_contain_text(NAME)
    expect(first).to_contain_text("Blueprint")
    page.keyboard.press("Escape")


@pytest.fixture
def whole(page: Page) -> Page:
    open_workflow(page, json.loads(BLUEPRINT.read_text(encoding="utf-8")))
    return page


def test_it_is_an_image_prompt_in_three_links(whole: Page) -> None:
    assert whole.evaluate(CONNECT) == 3
    graph = {node["class_type"]: (key, node["inputs"]) for key, node in prompt(whole).items()}
    checkpoint, image = graph["CheckpointLoaderSimple"][0], graph["LoadImage"][0]
    finder, found = graph["FindIPAdapter"]
    encoder, encoded = graph["EncodeImagePrompt"]
    applier, applied = graph["ApplyIPAdapter"]
    assert found == {"model": [checkpoint, 0], "preset": "STANDARD (medium strength)"}
    assert (encoded["clip_vision"], encoded["image"]) == ([finder, 2], [image, 0])
    assert (applied["model"], applied["ip_adapter"], applied["weight"]) == ([finder, 0], [finder, 1], 0.7)
    assert applied["image_prompt"] == [encoder, 0]
    assert graph["KSampler"][1]["model"] == [applier, 0]
