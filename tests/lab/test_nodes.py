"""The laboratory's loader nodes, taken in by the host's own loader of custom nodes."""

import asyncio
from collections.abc import Iterator

import comfy.controlnet
import comfy.model_patcher
import comfy.sd
import pytest

import nodes
from lab import files
from lab.host import ROOT


@pytest.fixture(scope="module")
def loaded() -> Iterator[dict[str, type]]:
    """The host's table of nodes, ours among them for as long as these tests run."""
    before = set(nodes.NODE_CLASS_MAPPINGS)
    assert asyncio.run(nodes.load_custom_node(str(ROOT / "lab" / "nodes"), ignore=before))
    yield nodes.NODE_CLASS_MAPPINGS
    for name in set(nodes.NODE_CLASS_MAPPINGS) - before:
        del nodes.NODE_CLASS_MAPPINGS[name]


@pytest.mark.parametrize("name", files.MODELS)
def test_the_model_loader_gives_all_that_a_graph_needs(loaded: dict[str, type], name: str):
    model, clip, vae, vision = loaded["LoadLabModel"].execute(name).result
    assert isinstance(model, comfy.model_patcher.ModelPatcher)
    assert isinstance(clip, comfy.sd.CLIP) and isinstance(vae, comfy.sd.VAE)
    assert vision.image_size == 64


def test_the_control_net_loader_gives_a_control_net(loaded: dict[str, type]):
    (net,) = loaded["LoadLabControlNet"].execute().result
    assert isinstance(net, comfy.controlnet.ControlNet)


def test_a_model_can_be_loaded_again_by_itself():
    function, arguments = files.load_model("base").cached_patcher_init
    again = function(*arguments, disable_dynamic=True)
    assert again.model is not files.load_model("base").model
