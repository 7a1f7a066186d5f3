"""What a user meets around the nodes: a clean start, the search, the help, their own language."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.graphs import EveryWorkflow, Faults, Started, open_template
from tools.server import PACK_FOLDER

TITLES = {
    "ApplyIPAdapter": "Apply IP-Adapter",
    "EncodeImagePrompt": "Encode Image Prompt",
    "EvaluateImagePrompt": "Evaluate Image Prompt",
    "ImagePromptGrid": "Image Prompt Grid",
    "LoadIPAdapter": "Load IP-Adapter",
    "LoadOpenCLIPVision": "Load OpenCLIP Vision",
    "SaveIPAdapter": "Save IP-Adapter",
    "TrainIPAdapter": "Train IP-Adapter",
}
ADD_AND_SELECT = """type => {
    const graph = window.app.graph
    graph.clear()
    const node = window.LiteGraph.createNode(type)
    node.pos = [400, 300]
    graph.add(node)
    window.app.canvas.ds.reset()
    window.app.canvas.selectNode(node)
}"""


def test_start_and_workflows_leave_no_errors(started: Started, every_workflow: EveryWorkflow) -> None:
    assert started.faults + every_workflow.faults == []


def test_the_watch_above_sees_an_error_of_ours(page: Page) -> None:
    faults = Faults(page)
    page.evaluate(f"console.error('cannot read {PACK_FOLDER}'); console.error('something else')")
    page.wait_for_timeout(200)
    assert len(faults.of_ours) == 1


def test_the_node_library_finds_the_nodes_by_an_old_name(page: Page) -> None:
    page.evaluate("window.app.extensionManager.command.execute('Workspace.ToggleSidebarTab.node-library')")
    library = page.locator(".side-bar-panel")
    search = library.locator("input").first  # front ends name it differently
    search.fill("ipadapter")
    for node_id in ("LoadIPAdapter", "EncodeImagePrompt", "ApplyIPAdapter"):
        expect(library.get_by_text(TITLES[node_id], exact=True)).to_be_visible()
    search.fill("")
    page.evaluate("window.app.extensionManager.command.execute('Workspace.ToggleSidebarTab.node-library')")


def open_help(page: Page, node_id: str) -> None:
    """Select a fresh node, and press the button that tells about it."""
    page.evaluate(ADD_AND_SELECT, node_id)
    page.get_by_test_id("info-button").click()


@pytest.mark.parametrize("node_id", TITLES)
def test_the_help_panel_shows_our_page(page: Page, node_id: str) -> None:
    open_help(page, node_id)
    panel = page.get_by_test_id("properties-panel")
    expect(panel.get_by_role("heading", name=TITLES[node_id], level=1)).to_be_visible()
    for heading in ("Inputs", "Outputs", "Tips", "Errors"):
        expect(panel.get_by_role("heading", name=heading, exact=True)).to_be_attached()


def test_a_chinese_user_reads_chinese(chinese: Page) -> None:
    open_help(chinese, "ApplyIPAdapter")
    assert chinese.evaluate("window.app.graph.nodes[0].title") == "应用 IP-Adapter"
    assert chinese.evaluate("window.LiteGraph.registered_node_types.EncodeFacePrompt.category") == "IP-Adapter/人脸"
    labels = chinese.evaluate("window.app.graph.nodes[0].inputs.map(input => input.localized_name)")
    assert {"模型", "适配器", "图像提示", "权重"} <= set(labels)
    panel = chinese.get_by_test_id("properties-panel")
    expect(panel.get_by_role("heading", name="报错", exact=True)).to_be_attached()


def test_a_chinese_users_template_is_chinese(chinese: Page) -> None:
    open_template(chinese, "image_prompt")
    assert chinese.evaluate("window.app.graph.groups.map(group => group.title)")[:2] == ["模型", "图像提示"]
    titles, note = chinese.evaluate(
        "window.app.graph.nodes.filter(n => n.type === 'MarkdownNote').map(n => [n.title, n.widgets[0].value])[0]"
    )
    assert titles == "关于这个工作流" and "可以改什么" in note and "What to change" not in note
    assert "languages" not in chinese.evaluate("window.app.graph.extra")


def test_a_chinese_user_reads_what_an_option_means(chinese: Page) -> None:
    chinese.evaluate(ADD_AND_SELECT, "ApplyIPAdapter")
    shown = "window.app.graph.nodes[0].widgets.find(widget => widget.name === 'layers')"
    assert chinese.evaluate(f"{shown}._displayValue") == "linear 线性"
    assert chinese.evaluate(f"{shown}.value") == "linear"
