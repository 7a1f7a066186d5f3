"""The graph that makes one picture of one image prompt: the paper's settings, or a workflow of the user's."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import IPAdapterError
from .captions import read_json

ApiGraph = dict[str, dict[str, Any]]
GraphLink = Sequence[str | int]  # a node's id, and which of its outputs

SEEDS = ("seed", "noise_seed")
SHOWS = ("SaveImage", "PreviewImage")


@dataclass(frozen=True)
class DrawingRecipe:
    """What the built-in graph draws with; the defaults are the paper's (section 4.1.2): DDIM, 50 steps, guidance 7.5.

    `ddim_uniform` spaces 50 steps as the reference's scheduler does: 981, 961 … 1.
    """

    checkpoint: str = "v1-5-pruned-emaonly-fp16.safetensors"
    adapter: str = "ip-adapter_sd15.safetensors"
    image_encoder: str = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
    weight: float = 1.0
    text: str = ""
    negative: str = ""
    steps: int = 50
    cfg: float = 7.5
    sampler: str = "ddim"
    scheduler: str = "ddim_uniform"
    size: int = 512


@dataclass(frozen=True)
class Template:
    """A graph in the API's format, and where an image and a seed go in and a picture comes out."""

    prompt: ApiGraph
    image: str  # id of the LoadImage node
    seeds: tuple[tuple[str, str], ...]  # node id, input
    output: str  # id of the node that shows the picture
    text: str | None = None  # id of the node that encodes the text prompt, where one was found

    def fill(self, image: str, seed: int, text: str | None = None) -> ApiGraph:
        """The graph for one picture; `image` as the server's input folder has it, `text` in place of its own."""
        prompt = copy.deepcopy(self.prompt)
        prompt[self.image]["inputs"]["image"] = image
        if text is not None and self.text is not None:
            prompt[self.text]["inputs"]["text"] = text
        for node, name in self.seeds:
            prompt[node]["inputs"][name] = seed
        return prompt


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def build_graph(recipe: DrawingRecipe) -> ApiGraph:
    """Image prompt in, picture shown: the pack's nodes and the host's."""
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=recipe.checkpoint),
        "adapter": node("LoadIPAdapter", ip_adapter_name=recipe.adapter),
        "encoder": node("CLIPVisionLoader", clip_name=recipe.image_encoder),
        "image": node("LoadImage", image=""),
        "encode": node("EncodeImagePrompt", clip_vision=["encoder", 0], image=["image", 0], fit="crop"),
        "apply": node(
            "ApplyIPAdapter",
            model=["checkpoint", 0],
            ip_adapter=["adapter", 0],
            image_prompt=["encode", 0],
            weight=recipe.weight,
            start_at=0.0,
            end_at=1.0,
        ),
        **text_and_sampler(recipe, ["apply", 0], ["positive", 0]),
    }


def text_and_sampler(
    recipe: DrawingRecipe,
    model: GraphLink,
    positive: GraphLink,
    negative: GraphLink = ("negative", 0),
    size: int | None = None,
) -> ApiGraph:
    """What every graph ends with, over a node "checkpoint": both texts, the sampler, and the picture shown."""
    side = size or recipe.size
    return {
        "positive": node("CLIPTextEncode", text=recipe.text, clip=["checkpoint", 1]),
        "negative": node("CLIPTextEncode", text=recipe.negative, clip=["checkpoint", 1]),
        "latent": node("EmptyLatentImage", width=side, height=side, batch_size=1),
        "sample": node(
            "KSampler",
            model=[*model],
            positive=[*positive],
            negative=[*negative],
            latent_image=["latent", 0],
            seed=0,
            steps=recipe.steps,
            cfg=recipe.cfg,
            sampler_name=recipe.sampler,
            scheduler=recipe.scheduler,
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["checkpoint", 2]),
        "show": node("PreviewImage", images=["decode", 0]),
    }


def read_workflow(path: Path) -> ApiGraph:
    """A workflow that was exported in the API's format. Raises IPAdapterError for anything else."""
    data = read_json(path)
    if isinstance(data, Mapping) and isinstance(data.get("nodes"), list):
        raise IPAdapterError(f"'{path.name}' is a saved workflow: export it in ComfyUI with File > Export (API).")
    nodes = isinstance(data, Mapping) and data and all(isinstance(one, Mapping) for one in data.values())
    if not nodes or not all("class_type" in one and "inputs" in one for one in data.values()):
        raise IPAdapterError(
            f"'{path.name}' is not a workflow in the API's format: export it with File > Export (API)."
        )
    return dict(data)


def make_template(prompt: ApiGraph, image: str | None = None, output: str | None = None) -> Template:
    """Find the ends of a graph; ids may be given where it has several. Raises IPAdapterError."""
    return Template(
        prompt,
        one_node(prompt, ("LoadImage",), image, "--image-node"),
        find_seeds(prompt),
        one_node(prompt, SHOWS, output, "--output-node"),
        find_text(prompt),
    )


def find_text(prompt: ApiGraph) -> str | None:
    """The node that writes what a sampler's `positive` says, or None."""
    waiting = [made["inputs"]["positive"] for made in prompt.values() if is_graph_link(made["inputs"].get("positive"))]
    seen: list[str] = []
    while waiting:
        key = str(waiting.pop(0)[0])
        inputs = prompt[key]["inputs"] if key in prompt and key not in seen else {}
        if key in prompt and prompt[key]["class_type"] == "CLIPTextEncode" and isinstance(inputs.get("text"), str):
            return key
        seen.append(key)
        waiting += [value for value in inputs.values() if is_graph_link(value)]
    return None


def is_graph_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def one_node(prompt: ApiGraph, kinds: tuple[str, ...], chosen: str | None, option: str) -> str:
    """The one node of some kinds, or the one that is chosen by id."""
    found = [key for key, made in prompt.items() if made["class_type"] in kinds]
    if chosen is not None and chosen in prompt:
        return chosen
    if chosen is not None or len(found) != 1:
        said = f"no node {chosen}" if chosen is not None else f"{len(found)} nodes of kind {' or '.join(kinds)}"
        ids = f" (ids {', '.join(found)})" if found else ""
        raise IPAdapterError(f"the workflow has {said}{ids}, where one is needed: name it with {option} ID.")
    return found[0]


def find_seeds(prompt: ApiGraph) -> tuple[tuple[str, str], ...]:
    """Every seed that is written in a node rather than linked to it."""
    seeds = tuple(
        (key, name) for key, made in prompt.items() for name in SEEDS if isinstance(made["inputs"].get(name), int)
    )
    if not seeds:
        raise IPAdapterError("the workflow has no seed to set, so every picture of an image would be the same.")
    return seeds
