"""The laboratory on a real server: its loader nodes, its adapter, and a graph that shows the image prompt at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from lab.world import draw, held_out_scenes
from tools.environment import LAYOUT

LAB = LAYOUT.root / "lab"
NODES: Mapping[str, Path] = {"laboratory": LAB / "nodes"}
ADAPTER = "ip-adapter-lab.safetensors"
MODEL_FILES: Mapping[str, Path] = {f"ipadapter/{ADAPTER}": LAB / "weights" / "ip-adapter.safetensors"}
WEIGHTS = (0.0, 0.5, 1.0)
REFERENCES = 4
SCENES_SEED = 17
SIDE, CELL = 64, 192  # pixels of a picture, and of one on the sheet

Prompt = dict[str, dict[str, Any]]


def reference_pictures() -> dict[str, bytes]:
    """Pictures of combinations that no model of the laboratory was trained on, as PNG files by name."""
    scenes = held_out_scenes(REFERENCES, SCENES_SEED)
    return {f"{scene.style} {scene.colour} {scene.shape}.png": png(draw(scene)) for scene in scenes}


def png(picture: Any) -> bytes:
    """A picture (H, W, 3) as a file."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def lab_prompt(images: Sequence[str], labels: Sequence[str]) -> Prompt:
    """A graph in the API's format: a row for each image, the reference at its head, then a picture for each weight."""
    prompt: Prompt = {
        "model": node("LoadLabModel", name="base"),
        "text": node("CLIPTextEncode", clip=["model", 1], text=""),
        "adapter": node("LoadIPAdapter", ip_adapter_name=ADAPTER),
        "empty": node("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1),
    }
    for row, image in enumerate(images):
        prompt |= row_of(row, image)
    made = [f"picture {row} {column}" for row in range(len(images)) for column in range(len(WEIGHTS))]
    return prompt | {
        "pictures": batch(made),
        "references": batch([f"square {row}" for row in range(len(images))]),
        "sheet": node(
            "ImagePromptGrid",
            images=["pictures", 0],
            references=["references", 0],
            columns=len(WEIGHTS),
            column_labels="\n".join(f"λ = {weight:g}" for weight in WEIGHTS),
            row_labels="\n".join(labels),
            title="",
            cell_size=CELL,
        ),
        "save": node("SaveImage", images=["sheet", 0], filename_prefix="image_prompt"),
    }


def row_of(row: int, image: str) -> Prompt:
    """The nodes of one reference."""
    nodes = {
        f"image {row}": node("LoadImage", image=image),
        f"square {row}": node(
            "ImageScale", image=[f"image {row}", 0], upscale_method="area", width=SIDE, height=SIDE, crop="center"
        ),
        f"prompt {row}": node("EncodeImagePrompt", clip_vision=["model", 3], image=[f"image {row}", 0], fit="crop"),
    }
    for column, weight in enumerate(WEIGHTS):
        nodes |= cell_of(row, column, weight)
    return nodes


def cell_of(row: int, column: int, weight: float) -> Prompt:
    """The nodes of one picture."""
    return {
        f"applied {row} {column}": node(
            "ApplyIPAdapter",
            model=["model", 0],
            ip_adapter=["adapter", 0],
            image_prompt=[f"prompt {row}", 0],
            weight=weight,
            start_at=0.0,
            end_at=1.0,
        ),
        f"sampled {row} {column}": node(
            "KSampler",
            model=[f"applied {row} {column}", 0],
            positive=["text", 0],
            negative=["text", 0],
            latent_image=["empty", 0],
            seed=row,
            steps=20,
            cfg=3.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        f"picture {row} {column}": node("VAEDecode", samples=[f"sampled {row} {column}", 0], vae=["model", 2]),
    }


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """One node."""
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def batch(nodes: Sequence[str]) -> dict[str, Any]:
    """Pictures of several nodes as one batch."""
    return node("BatchImagesNode", **{f"images.image{i}": [name, 0] for i, name in enumerate(nodes)})
