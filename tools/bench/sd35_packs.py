"""The packs that bring image prompts to SD3.5 Large, each driven through its own nodes with random hidden states."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

import torch
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Part
from pack.nodes.apply import ApplyIPAdapter

from tools.bench.flux_models import random
from tools.bench.flux_packs import random_tensors
from tools.bench.flux_peers import swapped
from tools.bench.models import Model
from tools.bench.noise import SEED
from tools.bench.packs import ThisPack, Use
from tools.standins.formats import write
from tools.standins.sd35 import DIM, HEAD, SIGLIP_HIDDEN, sd35_adapter_shapes

PATCHES = 729  # rows of SigLIP's hidden states
FILE = "sd35.bin"


class SD35Pack(Protocol):
    """A pack that brings image prompts to SD3.5 Large."""

    name: str

    def can(self, use: Use) -> bool:
        """Whether its nodes have the inputs for it."""

    def load(self, blocks: int, folder: Path, device: torch.device) -> Any:
        """Its loader node: a random adapter for a model of so many blocks."""

    def apply(self, model: Model, loaded: Any, use: Use) -> Model:
        """Its apply node."""


def write_adapter(blocks: int, folder: Path) -> None:
    write(folder / FILE, random_tensors(sd35_adapter_shapes(blocks)))


class SD35ThisPack:
    """This pack."""

    name = ThisPack.name

    def can(self, use: Use) -> bool:
        return True

    def load(self, blocks: int, folder: Path, device: torch.device) -> Any:
        write_adapter(blocks, folder)
        return ThisPack().load(FILE)

    def apply(self, model: Model, loaded: Any, use: Use) -> Model:
        hidden = partial(random, 1, PATCHES, SIGLIP_HIDDEN)
        picture, nothing = (ImageFeatures(random(1, SIGLIP_HIDDEN), hidden(seed=seed)) for seed in (SEED, SEED + 1))
        prompt = ImagePrompt.known((Part(picture),), nothing, "random features")
        return ApplyIPAdapter.execute(model, loaded, prompt, 1.0, 0.0, use.end_at, mask=use.mask).result[0]


class Slickytail:
    """ComfyUI-InstantX-IPAdapter-SD3, which has the public widths written into it, and fp16."""

    name = "Slickytail's nodes"

    def __init__(self, package: ModuleType) -> None:
        self.nodes = package.NODE_CLASS_MAPPINGS
        self.module = sys.modules[f"{package.__name__}.nodes"]

    def can(self, use: Use) -> bool:
        return use.mask is None

    def load(self, blocks: int, folder: Path, device: torch.device) -> Any:
        write_adapter(blocks, folder)
        with self.shaped(HEAD * blocks, folder):
            return self.nodes["IPAdapterSD3Loader"]().load_model(FILE, device.type)[0]

    def shaped(self, width: int, folder: Path) -> AbstractContextManager[None]:
        """With a model's width for the public one, and a folder to look for the file in."""
        processor, resampler = self.module.IPAttnProcessor, self.module.TimeResampler
        sizes = {"head_dim": HEAD, "timesteps_emb_dim": DIM}
        return swapped(
            self.module,
            MODELS_DIR=str(folder),
            IPAttnProcessor=lambda **given: processor(**dict.fromkeys(given, width) | sizes),
            TimeResampler=lambda **given: resampler(**{**given, "dim": DIM, "heads": DIM // HEAD, "output_dim": width}),
        )

    def apply(self, model: Model, loaded: Any, use: Use) -> Model:
        picture = SimpleNamespace(penultimate_hidden_states=random(1, PATCHES, SIGLIP_HIDDEN))
        return self.nodes["ApplyIPAdapterSD3"]().apply_ipadapter(model, loaded, picture, 1.0, 0.0, use.end_at)[0]
