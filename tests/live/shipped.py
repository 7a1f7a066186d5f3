"""The shipped workflows as the tests send them: small, in few steps, measured with a small encoder."""

from __future__ import annotations

from dataclasses import dataclass

from tests.live.files import SMALL_ENCODER
from tests.live.graph import Graph
from tests.live.studio import Pixels, Studio
from tests.live.training_pictures import quick_training
from tools.workflows.shipped import SHIPPED

LOADERS = {"CheckpointLoaderSimple": "ckpt_name", "UNETLoader": "unet_name"}  # of base models, and what says which


def base_model(name: str) -> str:
    """The base model that a shipped workflow loads."""
    graph = Graph.shipped(name)
    return next(graph.inputs(loader)[file] for loader, file in LOADERS.items() if graph.ids(loader))


NAMES = sorted((workflow.name for workflow in SHIPPED), key=base_model)  # one after the other, to be loaded once
FRAMES = {"animation": 2}
LEAST = {"attention_map": 0.01}  # what is recorded needs an image prompt, however weak


def quick(name: str, studio: Studio) -> Graph:
    """A shipped graph small and in few steps, measured with a small encoder."""
    graph = quick_training(studio.quick(name)).change("EvaluateImagePrompt", clip_name=SMALL_ENCODER)
    if name == "inpainting":
        graph.nodes[graph.inputs("SetLatentNoiseMask")["mask"][0]]["inputs"]["image"] = studio.hole
    if name in FRAMES:
        graph = graph.change("EmptyLatentImage", batch_size=FRAMES[name])
    return graph.change("ImagePromptFrames", frames=FRAMES.get(name, 1))


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
