"""What nodes say is on the nodes: what they found, and in a sentence why they cannot."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.schema.texts import CURRENT

ADAPTER = "ip-adapter_sd15.safetensors"
TEXT = """type => window.app.graph.nodes.find(node => node.type === type)
    .widgets?.find(widget => widget.name === '$$node-text-preview')?.value ?? ''"""
SAYS = "said => document.querySelector('[data-testid=error-overlay-messages] p')?.textContent === said"
CUT_OFF = """types => types.filter(type => {
    const node = window.LiteGraph.createNode(type)
    const pen = document.createElement('canvas').getContext('2d')
    pen.font = `${window.LiteGraph.NODE_TEXT_SIZE}px ${window.LiteGraph.NODE_FONT}`
    return node.size[0] < window.LiteGraph.NODE_TITLE_HEIGHT + 16 + pen.measureText(node.title).width
})"""


def step(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def run(page: Page, graph: dict[str, Any]) -> None:
    """Open a graph and press the button that runs it."""
    page.evaluate("graph => window.app.loadApiJson(graph, 'speaking')", graph)
    page.get_by_test_id("queue-button").click()


def described() -> dict[str, Any]:
    return {
        "1": step("LoadIPAdapter", ip_adapter_name=ADAPTER),
        "2": step("DescribeIPAdapter", ip_adapter=["1", 0]),
    }


def refused() -> dict[str, Any]:
    """A curve that nobody can read."""
    return {
        "1": step("ImagePromptCurve", keyframes="0: much", interpolation="linear", low=0.0, high=1.0),
        "2": step("PreviewImage", images=["1", 1]),
    }


def test_a_description_is_on_the_node_and_again_where_nothing_is_computed(page: Page) -> None:
    for _ in range(2):
        run(page, described())
        page.wait_for_function(f"type => ({TEXT})(type).includes('SD1.5')", arg="DescribeIPAdapter")


def test_a_refusal_is_on_the_node_and_in_the_first_message_until_it_is_mended(page: Page) -> None:
    run(page, refused())
    page.get_by_test_id("error-overlay-messages").wait_for()
    said = page.evaluate(TEXT, "ImagePromptCurve")
    assert "'0: much' cannot be read" in said and "/" not in said and "Error" not in said
    page.wait_for_function(SAYS, arg=said)
    page.evaluate(
        "() => { window.app.graph.nodes.find(node => node.type === 'ImagePromptCurve').widgets[0].value = '0: 1' }"
    )
    page.get_by_test_id("queue-button").click()
    page.wait_for_function("() => window.app.graph.nodes.some(node => node.imgs?.length)")
    assert page.evaluate(TEXT, "ImagePromptCurve") == ""


def test_no_title_is_cut_off(page: Page) -> None:
    assert page.evaluate(CUT_OFF, list(CURRENT)) == []


def test_a_seed_that_most_timings_do_not_read_stays_as_it_is(page: Page) -> None:
    values = page.evaluate("window.LiteGraph.createNode('ImagePromptFrames').widgets.map(widget => widget.value)")
    assert "fixed" in values and "randomize" not in values
