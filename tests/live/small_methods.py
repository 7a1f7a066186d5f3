"""The methods of the paper's comparison as the tests draw with them, with small models in the place of what the host
opens in its full size only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pack.ipadapter.commands.evaluate.graph import ApiGraph, DrawingRecipe, node
from pack.ipadapter.commands.evaluate.methods import METHODS, ComparedMethod, FilesFound

from tests.live.files import REDUX_FLUX, SHALLOW_ENCODER
from tools.workflows.models import SD35_LARGE, SIGLIP

SHALLOW = node("LoadOpenCLIPVision", clip_name=SHALLOW_ENCODER, architecture="auto")


def small_unclip(graph: ApiGraph) -> ApiGraph:
    """Its UNet alone is of its kind, which has two encoders in full size beside it."""
    graph |= {"encoder": SHALLOW, "text": node("LoadShallowText")}
    graph["encode"]["inputs"]["clip_vision"] = ["encoder", 0]
    return with_text(graph, 0)


def small_redux(graph: ApiGraph) -> ApiGraph:
    """SD3.5's stand-in has a text as wide as T5-XXL's."""
    graph["model"]["inputs"]["unet_name"] = REDUX_FLUX
    graph["text"] = node("CheckpointLoaderSimple", ckpt_name=SD35_LARGE.name)
    graph["encoder"] = node("LoadSigLIPVision", clip_name=SIGLIP.name)
    return with_text(graph, 1)


def with_text(graph: ApiGraph, slot: int) -> ApiGraph:
    for key in ("positive", "negative"):
        graph[key]["inputs"]["clip"] = ["text", slot]
    return graph


def small_plus(graph: ApiGraph) -> ApiGraph:
    """With the shallow encoder for ViT-H."""
    return graph | {"encoder": SHALLOW}


SMALL: dict[str, Callable[[ApiGraph], ApiGraph]] = {
    "unclip": small_unclip,
    "redux": small_redux,
    "ip-adapter-plus": small_plus,
}


def made_small(method: ComparedMethod) -> ComparedMethod:
    """A method whose graph is made small."""
    build, change = method.build, SMALL.get(method.name)
    if build is None or change is None:
        return method

    def build_small(recipe: DrawingRecipe, files: FilesFound) -> ApiGraph:
        return change(build(recipe, files))

    return replace(method, build=build_small)


SMALL_METHODS = tuple(map(made_small, METHODS))
