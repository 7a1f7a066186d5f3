"""What the front end is told about the pack's nodes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.studio import Studio
from tests.schema.texts import CURRENT, LEGACY, NODE_IDS

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def ours(studio: Studio) -> dict[str, Any]:
    described = studio.ask(lambda client: client.object_info())
    return {name: node for name, node in described.items() if "image-prompt-adapter" in node["python_module"]}


def test_the_pack_brings_these_nodes(ours: dict[str, Any]) -> None:
    assert sorted(ours) == sorted(NODE_IDS)


@pytest.mark.parametrize("name", NODE_IDS)
def test_everything_has_a_tooltip(name: str, ours: dict[str, Any]) -> None:
    node = ours[name]
    inputs = {key: spec for group in ("required", "optional") for key, spec in node["input"].get(group, {}).items()}
    assert inputs
    assert not [key for key, spec in inputs.items() if not spec[1].get("tooltip")]
    assert len(node["output_tooltips"]) == len(node["output"]) and all(node["output_tooltips"])


@pytest.mark.parametrize("name", LEGACY)
def test_a_node_for_old_graphs_is_not_offered_for_new_ones(name: str, ours: dict[str, Any]) -> None:
    assert ours[name]["deprecated"] and ours[name]["category"] == "IP-Adapter/compatibility"


FOLDERS = {"IP-Adapter"} | {
    f"IP-Adapter/{folder}" for folder in ("loaders", "faces", "image prompts", "strength", "measuring", "training")
}


@pytest.mark.parametrize("name", CURRENT)
def test_it_can_be_found_by_other_names(name: str, ours: dict[str, Any]) -> None:
    node = ours[name]
    assert node["description"] and node["search_aliases"]
    assert node["display_name"] != name and node["category"] in FOLDERS


@pytest.mark.parametrize("name", NODE_IDS)
def test_its_help_page_is_served(name: str, studio: Studio) -> None:
    page = studio.get(f"extensions/image-prompt-adapter/docs/{name}.md").decode()
    assert page.startswith("# ") and len(page) > 200
