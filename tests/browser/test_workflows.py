"""The shipped workflows in the real front end."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.browser.graphs import NAMES, ROOT, SIDE, bare, nodes, open_clean, prompt, quick, workflow
from tools.browser import open_workflow
from tools.server import PACK_FOLDER
from tools.workflows.titles import TITLES

SHOWN = """side => window.app.graph.nodes
    .find(node => node.type === 'SaveImage').imgs?.some(image => image.naturalWidth === side)"""


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_opens_without_a_fault(page: Page, name: str) -> None:
    open_clean(page, name)
    found = nodes(page)
    assert [node for node in found if not node["known"] or node["errors"]] == []
    types = {node["type"] for node in found}
    assert {"LoadIPAdapter", "ApplyIPAdapter"} <= types and types & {"EncodeImagePrompt", "EncodeFacePrompt"}
    expect(page.get_by_test_id("error-overlay")).to_have_count(0)


@pytest.mark.parametrize("name", NAMES)
def test_the_front_end_exports_the_prompt_that_the_tests_queue(page: Page, name: str) -> None:
    open_clean(page, name)
    expected = json.loads((ROOT / "tests" / "prompts" / f"{name}.json").read_text(encoding="utf-8"))
    assert prompt(page) == bare(expected)


def test_every_workflow_is_among_the_templates_with_a_picture(page: Page) -> None:
    page.evaluate("window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_text(PACK_FOLDER, exact=True).first.click()
    for name in NAMES:
        card = page.get_by_test_id(f"template-workflow-{TITLES[name]}")
        expect(card).to_be_visible()
        card.scroll_into_view_if_needed()  # pictures are loaded as they come into view
        expect(card.locator("img").first).to_be_attached()
    page.get_by_test_id(f"template-workflow-{TITLES['two_adapters']}").click()
    page.wait_for_function("() => window.app.graph.nodes.filter(n => n.type === 'ApplyIPAdapter').length === 2")


def test_run_makes_a_picture_on_the_canvas(page: Page) -> None:
    open_workflow(page, quick(workflow("image_prompt")))
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(SHOWN, arg=SIDE)
    assert [node for node in nodes(page) if node["errors"]] == []
