"""The shipped workflows: they run, the image prompt counts, and their files say one and the same graph."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from comfy_cli.workflow_to_api import convert_ui_to_api
from PIL import Image

from tests.comfyui import HOST, USUAL
from tests.live.graph import Graph
from tests.live.shipped import FRAMES, NAMES, drawn, quick
from tests.live.studio import MEGAPIXELS, SIDE, Pixels, Studio, difference
from tests.live.training_pictures import put_training_pictures
from tools.workflows.files import pack_version, texts, thumbnails
from tools.workflows.shipped import SHIPPED
from tools.workflows.titles import TITLES, WORKFLOWS, graph_file, thumbnail_file

pytestmark = pytest.mark.live

ON_A_PHOTO = ("image_to_image", "inpainting")
CELL, COLUMNS = 256, 4  # of the sheet of evaluate_image_prompt
FRONT_END_NODES = ("MarkdownNote",)


@pytest.fixture(scope="module")
def object_info(studio: Studio) -> Mapping[str, Any]:
    return studio.ask(lambda client: client.object_info())


@pytest.fixture(scope="module")
def photo(studio: Studio) -> Image.Image:
    return Image.open(studio.server.input / studio.photo).convert("RGB")


def scaled(photo: Image.Image) -> tuple[int, int]:
    """Width and height that ImageScaleToTotalPixels gives the photo: its proportions, in multiples of 8."""
    factor = (MEGAPIXELS * 1024 * 1024 / (photo.width * photo.height)) ** 0.5
    return tuple(round(side * factor / 8) * 8 for side in photo.size)  # type: ignore[return-value]


@pytest.fixture(scope="module", autouse=True)
def training_pictures(studio: Studio) -> None:
    put_training_pictures(studio.server.input)


def has_the_size(picture: Pixels, name: str, photo: Image.Image) -> bool:
    """Whether a saved picture has the size that its workflow asks for."""
    height, width, _ = picture.shape
    if name == "evaluate_image_prompt":  # a sheet: a row of pictures and some room for labels
        return CELL < height < 2 * CELL and COLUMNS * CELL < width < (COLUMNS + 1) * CELL
    return (width, height) == (scaled(photo) if name in ON_A_PHOTO else (SIDE, SIDE))


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_follows_the_image(name: str, studio: Studio, photo: Image.Image) -> None:
    made = drawn(name, studio)
    (pictures,), (without,) = made.pictures.values(), made.without.values()
    assert all(has_the_size(picture, name, photo) for picture in pictures)
    assert len(pictures) == len(without) == FRAMES.get(name, 1)
    assert np.mean([difference(*pair) for pair in zip(pictures, without, strict=True)]) > 2


def test_the_evaluation_shows_its_result_and_a_row_for_each_weight(studio: Studio) -> None:
    graph = quick("evaluate_image_prompt", studio)
    shown = studio.run(graph).outcome.outputs
    text, found = (shown[node]["text"][0] for node in graph.ids("PreviewAny"))
    assert all(name in text for name in ("CLIP-I: ", "CLIP-T (cosine): ", "CLIP-T (2.5 x cosine): "))
    assert len({row["clip_i"] for row in json.loads(found)["rows"]}) == 3
    assert all(len(shown[graph.only(node)]["images"]) == 1 for node in ("EvaluateImagePrompt", "ImagePromptGrid"))


@pytest.mark.skipif(HOST != USUAL, reason="the files are written from what the usual ComfyUI says of its nodes")
def test_committed_files_are_what_the_generator_writes(object_info: Mapping[str, Any]) -> None:
    stale = [path.name for path, text in texts(SHIPPED, object_info) if path.read_text(encoding="utf-8") != text]
    assert not stale, "run python -m tools.workflows"


def test_committed_thumbnails_are_what_the_generator_draws() -> None:
    for path, content in thumbnails(SHIPPED):
        drawn, committed = (np.asarray(Image.open(source), np.int16) for source in (io.BytesIO(content), path))
        assert difference(drawn, committed) < 3, path.name


def test_titles_sort_in_the_order_of_learning() -> None:
    titles = [*TITLES.values()]
    assert sorted(titles) == titles and {workflow.name for workflow in SHIPPED} <= TITLES.keys()


def test_nothing_else_is_shipped() -> None:
    assert {*WORKFLOWS.iterdir()} == {file(name) for name in NAMES for file in (graph_file, thumbnail_file)}


@pytest.mark.parametrize("name", NAMES)
def test_canvas_and_prompt_are_one_graph(name: str, object_info: Mapping[str, Any]) -> None:
    assert convert_ui_to_api(read_workflow(name), dict(object_info)) == named_as_here(name, object_info)


def named_as_here(name: str, object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The prompt, each node titled as on the canvas, or where it has no title there as this host calls its class."""
    titles = {str(node["id"]): node.get("title") for node in read_workflow(name)["nodes"]}
    graph = Graph.shipped(name).change("LoadImage", image=None)  # the front end takes the first there is
    return {
        key: node | {"_meta": {"title": titles[key] or called(node["class_type"], object_info)}}
        for key, node in graph.nodes.items()
    }


def called(class_type: str, object_info: Mapping[str, Any]) -> str:
    """A node class in a host's words; older ones have none for some."""
    return object_info[class_type]["display_name"] or class_type


def read_workflow(name: str) -> dict[str, Any]:
    return json.loads(graph_file(name).read_text(encoding="utf-8"))


def nodes_of(name: str) -> list[dict[str, Any]]:
    return [node for node in read_workflow(name)["nodes"] if node["type"] not in FRONT_END_NODES]


@pytest.mark.parametrize("name", NAMES)
def test_every_node_says_which_pack_it_is_from(name: str, object_info: Mapping[str, Any]) -> None:
    for node in nodes_of(name):
        ours = object_info[node["type"]]["python_module"] == "custom_nodes.image-prompt-adapter"
        pack = ("image-prompt-adapter", pack_version()) if ours else ("comfy-core", "0.30.0")
        assert (node["properties"]["cnr_id"], node["properties"]["ver"]) == pack
        assert node["properties"]["Node name for S&R"] == node["type"]


@pytest.mark.parametrize("name", NAMES)
def test_every_model_file_can_be_downloaded_to_its_folder(name: str, studio: Studio) -> None:
    """As the front end looks: a widget's file name, told under `models` with an address and a folder of the host's."""
    folders = {folder["name"] for folder in studio.json("api/experiment/models")}
    for node in nodes_of(name):
        named = {value for value in node["widgets_values"] if str(value).endswith(".safetensors")}
        models = node["properties"].get("models", [])
        assert {model["name"] for model in models} == named or node["type"] == "FindIPAdapter"  # which names none
        for model in models:
            assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(".safetensors")
            assert model["directory"] in folders


@pytest.mark.parametrize("name", NAMES)
def test_nothing_overlaps_on_the_canvas(name: str) -> None:
    boxes = [(*node["pos"], *node["size"]) for node in read_workflow(name)["nodes"]]
    title = 30
    for index, (x, y, width, height) in enumerate(boxes):
        for other_x, other_y, other_width, other_height in boxes[index + 1 :]:
            beside = x + width <= other_x or other_x + other_width <= x
            assert beside or y + height <= other_y - title or other_y + other_height <= y - title


def test_template_browser_lists_all_with_thumbnails(studio: Studio) -> None:
    (listed,) = studio.json("api/workflow_templates").values()
    assert sorted(listed) == sorted(TITLES[name] for name in NAMES)
    for name in NAMES:
        address = f"api/workflow_templates/image-prompt-adapter/{quote(TITLES[name])}"
        assert studio.json(f"{address}.json") == read_workflow(name)
        assert studio.get(f"{address}.jpg") == thumbnail_file(name).read_bytes()
