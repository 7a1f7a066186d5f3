"""The shipped workflows in the real front end."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.graphs import (
    NAMES,
    ROOT,
    SIDE,
    bare,
    nodes,
    open_clean,
    open_template,
    overlaps,
    prompt,
    quick,
    workflow,
)
from tools.browser import PATIENCE, open_workflow
from tools.server import PACK_FOLDER
from tools.workflows.titles import TITLES

SHOWN = """side => window.app.graph.nodes
    .find(node => node.type === 'SaveImage').imgs?.some(image => image.naturalWidth === side)"""

READABLE = 0.6  # of the canvas' scale
VIEW = "() => ({ scale: window.app.canvas.ds.scale, seen: [...window.app.canvas.visible_area] })"
STARTS = "() => window.app.graph.nodes.map(node => [node.pos[0], node.pos[1]])"
RENDERERS = {"classic": False, "Nodes 2.0": True}


@pytest.fixture(params=RENDERERS)
def laptop(page: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page at the size of a small laptop's screen, in each of the front end's two ways to draw."""
    before = page.viewport_size
    page.set_viewport_size({"width": 1440, "height": 900})
    set_renderer(page, RENDERERS[request.param])
    yield page
    set_renderer(page, False)
    page.set_viewport_size(before or {"width": 1600, "height": 900})


def set_renderer(page: Page, vue: bool) -> None:
    page.evaluate("on => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", vue)


def test_every_template_opens_readable_and_nothing_overlaps(laptop: Page) -> None:
    for name in NAMES:
        open_template(laptop, name)
        view = laptop.evaluate(VIEW)
        assert view["scale"] >= READABLE, name
        x, y = min(laptop.evaluate(STARTS))
        left, top, *_ = view["seen"]
        assert left < x < left + 200 and top < y < top + 250, name
        assert overlaps(laptop) == [], name


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_opens_without_a_fault(page: Page, name: str) -> None:
    open_clean(page, name)
    found = nodes(page)
    assert [node for node in found if not node["known"] or node["errors"]] == []
    types = {node["type"] for node in found}
    assert "ApplyIPAdapter" in types and types & {"EncodeImagePrompt", "EncodeFacePrompt"}
    assert types & {"LoadIPAdapter", "FindIPAdapter"}
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
        expect(card.locator("img").first).to_be_attached(timeout=PATIENCE)
    page.get_by_test_id(f"template-workflow-{TITLES['two_adapters']}").click()
    page.wait_for_function("() => window.app.graph.nodes.filter(n => n.type === 'ApplyIPAdapter').length === 2")


def test_run_makes_a_picture_on_the_canvas(page: Page) -> None:
    open_workflow(page, quick(workflow("image_prompt")))
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(SHOWN, arg=SIDE)
    assert [node for node in nodes(page) if node["errors"]] == []
    assert overlaps(page) == []
