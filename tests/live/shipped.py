"""The shipped workflows as the tests send them: small, in few steps, with an encoder of few layers in ViT-H's place.

ViT-H itself takes longer than all else in a graph. It is encoded with where Find IP-Adapter and presets find it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.live.files import SHALLOW_ENCODER, SMALL_ENCODER, VIT_H
from tests.live.graph import Graph
from tests.live.studio import Pixels, Studio
from tests.live.training_pictures import quick_training
from tools.workflows.shipped import SHIPPED

LOADERS = {"CheckpointLoaderSimple": "ckpt_name", "UNETLoader": "unet_name"}  # of base models, and what says which


def base_model(name: str) -> str:
    """The base model that a shipped workflow loads."""
    graph = Graph.shipped(name)
    return next(graph.inputs(loader)[file] for loader, file in LOADERS.items() if graph.ids(loader))


# One after the other as they load the same, so that it is loaded once.
NAMES = sorted((workflow.name for workflow in SHIPPED), key=base_model)
FRAMES = {"animation": 2}
LEAST = {"attention_map": 0.01}  # what is recorded needs an image prompt, however weak


def quick(name: str, studio: Studio) -> Graph:
    """A shipped graph small and in few steps, with small encoders, and with texts that others have too."""
    graph = quick_training(studio.quick(name)).change("EvaluateImagePrompt", clip_name=SMALL_ENCODER)
    graph = with_few_texts(with_few_layers(graph))
    if name == "inpainting":
        graph.nodes[graph.inputs("SetLatentNoiseMask")["mask"][0]]["inputs"]["image"] = studio.hole
    if name in FRAMES:
        graph = graph.change("EmptyLatentImage", batch_size=FRAMES[name])
    return graph.change("ImagePromptFrames", frames=FRAMES.get(name, 1))


def with_few_layers(graph: Graph) -> Graph:
    """A graph with the shallow encoder in the place of ViT-H."""
    shallow = graph.copy()
    for node in shallow.ids("CLIPVisionLoader"):
        if shallow.nodes[node]["inputs"]["clip_name"] == VIT_H:
            inputs = {"clip_name": SHALLOW_ENCODER, "architecture": "auto"}
            shallow.nodes[node] |= {"class_type": "LoadOpenCLIPVision", "inputs": inputs}
    return shallow


def with_few_texts(graph: Graph) -> Graph:
    """A graph whose first text is that of every other graph, and so on: none is encoded twice in a row."""
    told = graph.copy()
    texts = [told.nodes[node]["inputs"] for node in told.ids("CLIPTextEncode")]
    known = list(dict.fromkeys(inputs["text"] for inputs in texts if isinstance(inputs["text"], str)))
    for inputs in texts:
        if inputs["text"] in known:
            inputs["text"] = f"text {known.index(inputs['text'])}"
    return told


@dataclass(frozen=True)
class Drawn:
    """What a shipped workflow draws, by the node that saves it, and what with no image prompt, or the weakest."""

    pictures: dict[str, list[Pixels]]
    without: dict[str, list[Pixels]]


def drawn(name: str, studio: Studio) -> Drawn:
    """Drawn once a server, one after the other, so that it reads and encodes once."""
    if name not in studio.drawn:
        graph = quick(name, studio)
        without = graph.change("ApplyIPAdapter", weight=LEAST.get(name, 0))
        studio.drawn[name] = Drawn(*(studio.run(each).pictures for each in (graph, without)))
    return studio.drawn[name]
