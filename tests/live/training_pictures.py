"""A few pictures with captions in a server's input folder, for a training of moments."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.live.graph import Graph
from tests.live.studio import SIDE

FOLDER = "training"  # as the shipped workflow names it
PICTURES = {  # name -> width, height, caption
    "red.png": (96, 64, "a red field"),
    "green.jpg": (64, 64, "a green field"),
    "blue.webp": (64, 80, "a blue field"),
}
STEPS, BATCH = 2, 2


def put_training_pictures(inputs: Path) -> None:
    """Noise tinted with the colour of each name, its caption beside it."""
    folder = inputs / FOLDER
    folder.mkdir(exist_ok=True)
    for name, (width, height, caption) in PICTURES.items():
        noise = Image.effect_noise((width, height), 60).convert("RGB")
        Image.blend(noise, Image.new("RGB", noise.size, name.partition(".")[0]), 0.6).save(folder / name)
        (folder / name).with_suffix(".txt").write_text(caption, encoding="utf-8")


def quick_training(graph: Graph) -> Graph:
    """The same training, small and in few steps."""
    small = graph.change("ImageScale", width=SIDE, height=SIDE)
    return small.change("TrainIPAdapter", steps=STEPS, batch_size=BATCH)
