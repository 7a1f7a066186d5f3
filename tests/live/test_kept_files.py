"""Files found by preset and prompts kept in files, in whole graphs on a real server."""

from __future__ import annotations

import pytest
from pack.ipadapter.server.client import ExecutionFailedError, PromptRejectedError

from tests.live.graph import Graph
from tests.live.shipped import base_model
from tests.live.studio import Studio

pytestmark = pytest.mark.live

STANDARD = "STANDARD (medium strength)"


def with_preset(graph: Graph, preset: str) -> Graph:
    """The graph with Find IP-Adapter in place of its two loaders."""
    found = graph.copy()
    model = found.output("CheckpointLoaderSimple")
    finder, _ = found.add("FindIPAdapter", model=model, preset=preset)
    found = found.change("ApplyIPAdapter", model=[finder, 0], ip_adapter=[finder, 1])
    found = found.change("EncodeImagePrompt", clip_vision=[finder, 2])
    for loader in (found.only("LoadIPAdapter"), found.only("CLIPVisionLoader")):
        del found.nodes[loader]
    return found


def test_what_a_preset_finds_draws_what_the_loaders_draw_and_is_found_once(studio: Studio) -> None:
    graph = studio.loaded()
    found = with_preset(graph, STANDARD)
    found.add("DescribeIPAdapter", ip_adapter=found.output("FindIPAdapter", 1), model=found.output("FindIPAdapter"))
    first = studio.run(found)
    finder, describer = found.only("FindIPAdapter"), found.only("DescribeIPAdapter")
    assert first.outcome.outputs[finder]["text"] == [
        "ip-adapter_sd15.safetensors\nCLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
    ]
    assert "This model: fits. It is SD1.5" in first.outcome.outputs[describer]["text"][0]
    assert finder in studio.run(found.change("KSampler", seed=5)).outcome.cached
    assert (first.picture == studio.draw(graph)).all()


def test_it_looks_again_when_a_file_has_come(studio: Studio) -> None:
    graph = Graph()
    checkpoint = graph.add("CheckpointLoaderSimple", ckpt_name=base_model("image_prompt"))
    finder, _ = graph.add("FindIPAdapter", model=checkpoint, preset=STANDARD)
    graph.add("DescribeIPAdapter", ip_adapter=[finder, 1], model=checkpoint)
    studio.run(graph)
    new = studio.server.settings.directory / "models" / "ipadapter" / "new.safetensors"
    new.write_bytes(b"{")
    try:
        assert finder not in studio.run(graph).outcome.cached
    finally:
        new.unlink()


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("FACEID", ("put ip-adapter-faceid_sd15.bin there", "https://huggingface.co/h94/IP-Adapter-FaceID/")),
        ("LIGHT - SD1.5 only (low strength)", ("put ip-adapter_sd15_light_v11.bin there", "https://huggingface.co/")),
        ("VIT-G (medium strength)", ("'ip-adapter_sd15.safetensors' reads ViT-H", "ip-adapter_sd15_vit-G")),
    ],
)
def test_what_is_missing_reaches_the_person_in_a_sentence(preset: str, words: tuple[str, ...], studio: Studio) -> None:
    with pytest.raises(ExecutionFailedError) as failure:
        studio.run(with_preset(studio.loaded(), preset))
    assert failure.value.class_type == "FindIPAdapter"
    assert [word for word in words if word not in str(failure.value)] == []


def test_a_saved_prompt_draws_the_picture_again_without_the_encoder(studio: Studio) -> None:
    graph = studio.light()
    image = graph.output("LoadImage")
    prompt = graph.output("EncodeImagePrompt")
    saver, _ = graph.add("SaveImagePrompt", image_prompt=prompt, filename_prefix="image_prompts/kept", image=image)
    run = studio.run(graph)
    (thumbnail,) = run.pictures.pop(saver)
    assert max(thumbnail.shape[:2]) == 256
    name = "image_prompts/kept_00001_.safetensors [output]"
    menu = studio.json("object_info/LoadImagePrompt")["LoadImagePrompt"]["input"]["required"]["image_prompt_name"]
    assert name in menu[1]["options"]
    again = graph.copy()
    loader, _ = again.add("LoadImagePrompt", image_prompt_name=name)
    again = again.change("ApplyIPAdapter", image_prompt=[loader, 0])
    for gone in (saver, again.only("EncodeImagePrompt"), again.only("LoadOpenCLIPVision"), again.only("LoadImage")):
        del again.nodes[gone]
    rerun = studio.run(again)
    assert (rerun.pictures[again.only("SaveImage")][0] == run.picture).all()
    assert rerun.outcome.outputs[loader]["images"][0]["filename"] == "kept_00001_.png"
    with pytest.raises(PromptRejectedError, match="is not in ComfyUI's input or output folder"):
        studio.run(again.change("LoadImagePrompt", image_prompt_name="gone.safetensors"))
