"""The shipped workflows as the tests send them: small, in few steps, measured with a small encoder."""

from __future__ import annotations

from tests.live.files import SMALL_ENCODER
from tests.live.graph import Graph
from tests.live.studio import Pixels, Studio
from tests.live.training_pictures import quick_training
from tools.workflows.shipped import SHIPPED

NAMES = [workflow.name for workflow in SHIPPED]
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


def drawn(name: str, studio: Studio) -> dict[str, list[Pixels]]:
    """What a shipped workflow draws, by the node that saves it; drawn once a server."""
    if name not in studio.drawn:
        studio.drawn[name] = studio.run(quick(name, studio)).pictures
    return studio.drawn[name]
