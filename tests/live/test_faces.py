"""People through a running server: the shipped graph of a face, changed in the ways its users change it."""

from __future__ import annotations

import pytest
from pack.ipadapter.server.client import ExecutionFailedError

from tests.live.graph import Graph
from tests.live.shipped import with_few_layers
from tests.live.studio import Studio, difference

pytestmark = pytest.mark.live


@pytest.fixture
def graph(studio: Studio) -> Graph:
    """With an encoder of few layers in the place of ViT-H."""
    return with_few_layers(studio.quick("faceid"))


def found(graph: Graph) -> Graph:
    """The same with Find IP-Adapter in place of the three loaders."""
    changed = graph.copy()
    finder, _ = changed.add("FindIPAdapter", model=changed.output("CheckpointLoaderSimple"), preset="FACEID PLUS V2")
    changed.inputs("FaceIDSettings")["ip_adapter"] = [finder, 1]
    changed.inputs("EncodeFacePrompt").update(clip_vision=[finder, 2], insightface=[finder, 3])
    changed.inputs("ApplyIPAdapter")["model"] = [finder, 0]
    for loader in ("LoadIPAdapter", "CLIPVisionLoader", "LoadInsightFace"):
        del changed.nodes[changed.only(loader)]
    return changed


def test_find_ip_adapter_brings_what_the_loaders_bring(studio: Studio) -> None:
    graph = studio.quick("faceid")
    assert difference(studio.draw(graph), studio.draw(found(graph))) == 0


@pytest.mark.parametrize("setting", [{"lora_weight": 0.0}, {"structure": 0.0}, {"version": "v1"}])
def test_a_setting_changes_the_picture(setting: dict, graph: Graph, studio: Studio) -> None:
    assert difference(studio.draw(graph), studio.draw(graph.change("FaceIDSettings", **setting))) > 0


def test_the_lora_stays_on_its_branch(graph: Graph, studio: Studio) -> None:
    """Without the adapter the same server draws as before it ever had it."""
    plain = graph.copy()
    plain.inputs("KSampler")["model"] = plain.output("CheckpointLoaderSimple")
    before = studio.draw(plain.change("KSampler", seed=77))
    studio.draw(graph)
    assert difference(before, studio.draw(plain.change("KSampler", seed=77))) == 0


@pytest.mark.parametrize(
    ("node", "change", "sentence"),
    [
        ("LoadImage", {"image": "example.png"}, "no face was found in image 1 of 1"),
        ("EncodeFacePrompt", {"face": 3}, "face is 3, counted from 0, but 1 face"),
        ("EncodeFacePrompt", {"weights": "1, 2"}, "write one number for each"),
        ("FaceIDSettings", {"version": "v1", "structure": 0.5}, "which has no structure"),
    ],
)
def test_what_does_not_fit_is_refused_before_sampling(
    node: str, change: dict, sentence: str, graph: Graph, studio: Studio
) -> None:
    change = {"image": studio.photo} if node == "LoadImage" else change
    with pytest.raises(ExecutionFailedError, match=sentence) as error:
        studio.run(graph.change(node, **change))
    assert error.value.class_type != "KSampler"


def test_face_id_plus_without_an_encoder_says_which_one_it_reads(graph: Graph, studio: Studio) -> None:
    blind = graph.copy()
    del blind.inputs("EncodeFacePrompt")["clip_vision"]
    with pytest.raises(ExecutionFailedError, match="encode with InsightFace and CLIP ViT-H/14") as error:
        studio.run(blind)
    assert error.value.class_type == "ApplyIPAdapter"
