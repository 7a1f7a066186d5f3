"""The blueprint that the server offers to the front end."""

from __future__ import annotations

import json

import pytest

from tests.comfyui import HOST, USUAL
from tests.live.studio import Studio
from tools.workflows.blueprint import BLUEPRINT, NAME
from tools.workflows.files import blueprint_text

pytestmark = pytest.mark.live


def test_the_server_offers_the_blueprint_of_this_pack(studio: Studio) -> None:
    offered = studio.json("api/global_subgraphs")
    ours = [key for key, entry in offered.items() if entry["info"]["node_pack"].endswith("image-prompt-adapter")]
    assert [offered[key]["name"] for key in ours] == [NAME]
    data = json.loads(studio.json(f"api/global_subgraphs/{ours[0]}")["data"])
    assert data == json.loads(BLUEPRINT.read_text(encoding="utf-8"))


@pytest.mark.skipif(HOST != USUAL, reason="the file is written from what the usual ComfyUI says of its nodes")
def test_the_committed_blueprint_is_what_the_generator_writes(studio: Studio) -> None:
    path, text = blueprint_text(studio.ask(lambda client: client.object_info()))
    assert path.read_text(encoding="utf-8") == text, "run python -m tools.workflows"
