"""Everything of the pack that reads a model's file, as its nodes do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pack.ipadapter.adapters.checkpoint import read_checkpoint
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.module import load_adapter
from pack.ipadapter.encoders.image_tower import read_visual
from pack.ipadapter.encoders.siglip import read_siglip, siglip_sizes, split_head
from pack.ipadapter.encoders.two_towers import read_towers
from pack.ipadapter.library.finding import read_adapter, read_encoder
from pack.ipadapter.library.loras import read_lora
from pack.ipadapter.prompts.files import read_features, read_prompt

Reader = Callable[[Path, str], object]  # the file, and its name to a user


def read_whole(path: Path, name: str) -> object:
    """As Load IP-Adapter does."""
    checkpoint = read_checkpoint(path, name)
    return load_adapter(checkpoint, identify(checkpoint))


def read_siglip_whole(path: Path, name: str) -> object:
    """As Load SigLIP Vision does, but for the host's module."""
    tower = read_siglip(path, name)
    return siglip_sizes(tower, name), split_head(tower, "")


READERS: dict[str, Reader] = {
    "Load IP-Adapter": read_whole,
    "Find's adapters": read_adapter,
    "Find's encoders": read_encoder,
    "Find's LoRAs": read_lora,
    "Load OpenCLIP Vision": read_visual,
    "Load SigLIP Vision": read_siglip_whole,
    "Evaluate": read_towers,
    "Load Image Prompt": read_prompt,
    "other packs' prompts": read_features,
}
