"""A user without the models is told which files to get, from where, and into which folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.graphs import nodes, open_clean, workflow
from tools.browser import open_front_end, open_workflow, write_user_settings
from tools.server import Settings, running

BY_NAME = "image_and_text_prompt"
BY_PRESET = "image_prompt"
SAID = """() => window.app.graph.nodes.find(node => node.type === 'FindIPAdapter')
    .widgets.find(widget => widget.name === '$$node-text-preview')?.value"""


@pytest.fixture(scope="module")
def page(
    browser: Browser, python: tuple[str, ...], front_end: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """The front end of a server that has no models at all, with a workflow open that loads files by name."""
    how = {"environment": front_end, "python": python}
    settings = Settings(tmp_path_factory.mktemp("server"), models=tmp_path_factory.mktemp("no_models"), **how)
    write_user_settings(settings)
    with running(settings) as server:
        page = open_front_end(browser, server.url)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        open_workflow(page, workflow(BY_NAME))
        page.get_by_test_id("error-overlay-see-errors").click()
        yield page
        page.close()


def needed() -> list[dict[str, Any]]:
    """The files that the workflow's nodes name, with address and folder."""
    return [file for node in workflow(BY_NAME)["nodes"] for file in node["properties"].get("models", ())]


def row(page: Page, name: str) -> Locator:
    """What the list of missing models says about one file."""
    group = page.get_by_test_id("error-group-missing-model")
    return group.get_by_test_id("missing-model-importable-rows").locator("> div", has_text=name)


def test_the_workflow_names_its_three_files() -> None:
    assert {file["directory"] for file in needed()} == {"checkpoints", "clip_vision", "ipadapter"}


@pytest.mark.parametrize("file", needed(), ids=lambda file: file["name"])
def test_a_missing_model_is_listed_with_folder_and_address(page: Page, file: dict[str, Any]) -> None:
    found = row(page, file["name"])
    expect(found).to_contain_text(file["directory"])
    expect(found.get_by_test_id("missing-model-download")).to_be_enabled()
    found.get_by_role("button", name="Copy URL").click()
    # What is copied is the page about the file, where its licence can be read before it is downloaded.
    assert page.evaluate("navigator.clipboard.readText()") == file["url"].replace("/resolve/", "/blob/")


def test_the_check_of_opened_workflows_would_see_missing_models(page: Page) -> None:
    open_clean(page, BY_NAME)
    faulty = {node["type"] for node in nodes(page) if node["errors"]}
    assert faulty == {"CheckpointLoaderSimple", "CLIPVisionLoader", "LoadIPAdapter"}


def test_no_node_is_missing(page: Page) -> None:
    unknown = "() => window.app.graph.nodes.filter(n => !(n.type in window.LiteGraph.registered_node_types)).length"
    assert page.evaluate(unknown) == 0
    expect(page.get_by_test_id("error-group-missing-node")).to_have_count(0)


def test_the_node_that_looks_for_the_files_says_before_anything_runs_which_to_get(page: Page) -> None:
    open_workflow(page, workflow(BY_PRESET))
    page.get_by_test_id("queue-button").click()
    said = page.wait_for_function(SAID).json_value()
    assert "ip-adapter_sd15.safetensors" in said and "models/ipadapter" in said
    assert "https://huggingface.co/h94/IP-Adapter" in said and "models/clip_vision" in said
