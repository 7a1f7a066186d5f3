"""The shipped workflows in the real front end."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.graphs import (
    NAMES,
    ROOT,
    SIDE,
    EveryWorkflow,
    bare,
    covered,
    nodes,
    open_template,
    overlaps,
    quick,
    workflow,
)
from tools.browser import PATIENCE, SCREEN, open_workflow
from tools.server import PACK_FOLDER
from tools.workflows.titles import TITLES

SHOWN = """side => window.app.graph.nodes
    .find(node => node.type === 'SaveImage').imgs?.some(image => image.naturalWidth === side)"""

READABLE = 0.6  # of the canvas' scale
VIEW = "() => ({ scale: window.app.canvas.ds.scale, seen: [...window.app.canvas.visible_area] })"
STARTS = "() => window.app.graph.nodes.map(node => [node.pos[0], node.pos[1]])"
ENDS = "() => window.app.graph.nodes.map(node => [node.pos[0] + node.size[0], node.pos[1] + node.size[1]])"
LAPTOP: ViewportSize = {"width": 1440, "height": 900}
DESK: ViewportSize = {"width": 1920, "height": 1080}
# A screen, and whether the front end draws in its newer way.
SCREENS = {"classic, laptop": (LAPTOP, False), "classic, desk": (DESK, False), "Nodes 2.0, laptop": (LAPTOP, True)}


@pytest.fixture(params=SCREENS)
def screen(page: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page at the size of a person's screen, in each of the front end's two ways to draw."""
    before = page.viewport_size
    size, vue = SCREENS[request.param]
    page.set_viewport_size(size)
    set_renderer(page, vue)
    yield page
    set_renderer(page, False)
    page.set_viewport_size(before or SCREEN)


def set_renderer(page: Page, vue: bool) -> None:
    page.evaluate("on => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", vue)


def corner(page: Page) -> list[float]:
    """The lower right corner of the graph."""
    ends = page.evaluate(ENDS)
    return [max(end[axis] for end in ends) for axis in (0, 1)]


def test_every_template_opens_readable_and_nothing_overlaps(screen: Page) -> None:
    """Whole where it can be read so, otherwise at its beginning."""
    for name in NAMES:
        open_template(screen, name)
        view = screen.evaluate(VIEW)
        assert view["scale"] >= READABLE, name
        (x, y), (right, bottom) = min(screen.evaluate(STARTS)), corner(screen)
        left, top, width, height = view["seen"]
        assert left < x < left + 200 and top < y < top + 250, name
        assert view["scale"] == READABLE or (right < left + width and bottom < top + height), name
        assert overlaps(screen) == [], name
        assert covered(screen) == [], name


def test_a_graph_that_was_saved_opens_where_its_user_left_it(page: Page) -> None:
    open_template(page, NAMES[0])
    page.evaluate("() => { window.app.canvas.ds.scale = 0.9; window.app.canvas.ds.offset = [7, 8] }")
    saved = page.evaluate("() => window.app.graph.serialize()")
    open_template(page, NAMES[1])
    open_workflow(page, saved)
    assert page.evaluate("() => [window.app.canvas.ds.scale, ...window.app.canvas.ds.offset]") == [0.9, 7, 8]


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_opens_without_a_fault(every_workflow: EveryWorkflow, name: str) -> None:
    found = every_workflow.opened[name].nodes
    assert [node for node in found if not node["known"] or node["errors"]] == []
    types = {node["type"] for node in found}
    assert "ApplyIPAdapter" in types and types & {"EncodeImagePrompt", "EncodeFacePrompt"}
    assert types & {"LoadIPAdapter", "FindIPAdapter"}
    assert every_workflow.opened[name].faults == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_front_end_exports_the_prompt_that_the_tests_queue(every_workflow: EveryWorkflow, name: str) -> None:
    expected = json.loads((ROOT / "tests" / "prompts" / f"{name}.json").read_text(encoding="utf-8"))
    assert every_workflow.opened[name].prompt == bare(expected)


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
