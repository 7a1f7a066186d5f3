"""Adapters for FLUX, what a pack for them is measured by, and this pack as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Part
from pack.nodes.apply import ApplyIPAdapter
from safetensors.torch import save_file
from torch import Tensor

from tools.bench.adapters import Shapes
from tools.bench.flux_models import WIDE, random
from tools.bench.models import Model
from tools.bench.noise import SEED, make_noise, tile
from tools.bench.packs import PLAIN, ThisPack, Use
from tools.standins.flux import (
    CLIP_L_EMBED,
    FLUX_DEV,
    SIGLIP_EMBED,
    CharacterShape,
    FluxShape,
    character_shapes,
    instantx_shapes,
    xlabs_shapes,
)


@dataclass(frozen=True)
class FluxAdapter:
    """A public adapter: how wide an embedding it reads, the blocks it acts in, its tensors for a FLUX of a shape."""

    name: str
    embed: int
    blocks: int
    shapes: Callable[[FluxShape], Shapes]

    def embedding(self) -> Tensor:
        """(1, E). Of a random picture."""
        return random(1, self.embed)

    def features(self) -> ImageFeatures:
        """Of a random picture."""
        return ImageFeatures(self.embedding())


@dataclass(frozen=True)
class CharacterAdapter(FluxAdapter):
    """One that reads hidden states of several layers, as wide as `embed`."""

    def features(self) -> ImageFeatures:
        return ImageFeatures(self.embedding(), character=random(1, 8 * PATCHES, self.embed))


XLABS = FluxAdapter("FLUX.1 dev, XLabs v2, 16 tokens", CLIP_L_EMBED, FLUX_DEV.double, xlabs_shapes)
INSTANTX = FluxAdapter(
    "FLUX.1 dev, InstantX, 128 tokens",
    SIGLIP_EMBED,
    FLUX_DEV.double + FLUX_DEV.single,
    partial(instantx_shapes, perceptron=2 * SIGLIP_EMBED),
)
NARROW_CHARACTER = CharacterShape(features=128)  # neither its blocks nor its width changes how much is done in a step
CHARACTER = CharacterAdapter(
    f"FLUX.1 dev, InstantCharacter, {NARROW_CHARACTER.tokens} tokens",
    NARROW_CHARACTER.features,
    INSTANTX.blocks,
    partial(character_shapes, character=NARROW_CHARACTER),
)
EMBEDDING_ADAPTERS = (XLABS, INSTANTX)  # whose K' and V' are made once, of one embedding
FLUX_ADAPTERS = (*EMBEDDING_ADAPTERS, CHARACTER)
BIAS, PATCHES = 0.02, 16  # and of what InstantCharacter reads


class FluxPack(Protocol):
    """A pack that brings image prompts to FLUX."""

    name: str
    counted: FluxShape  # of the adapter whose bytes are counted

    def reads(self, adapter: FluxAdapter) -> bool:
        """Whether it has a node for such files."""

    def can(self, use: Use) -> bool:
        """Whether its nodes have the inputs for it."""

    def load(self, adapter: FluxAdapter, shape: FluxShape, folder: Path, device: torch.device) -> Any:
        """Its loader node: a random adapter for a FLUX of a shape."""

    def apply(self, model: Model, loaded: Any, adapter: FluxAdapter, use: Use = PLAIN) -> Model:
        """Its apply node, given a random embedding."""

    def held(self, model: Model, loaded: Any) -> Iterator[Tensor]:
        """What it keeps on the device for a model that has been called."""

    def mend(self) -> None:
        """Give it what it misses in this ComfyUI."""


def random_tensors(shapes: Shapes) -> dict[str, Tensor]:
    """In fp16, as adapters are published. K' and V' are of about unit size however narrow the text is."""
    noise = make_noise()
    return {name: random_weight(name, size, noise).half() for name, size in shapes.items()}


def random_weight(name: str, size: tuple[int, ...], noise: Tensor) -> Tensor:
    """Ones for a norm, small biases, 1/sqrt(fan-in) for the rest."""
    if name.endswith("norm.weight"):
        return torch.ones(size)
    return tile(noise, size) * (BIAS if len(size) == 1 else size[-1] ** -0.5)


class FluxThisPack:
    """This pack. An adapter for a model of shapes alone has numbers all the same, for K' and V' follow the call, and
    reads a narrow text, which leaves K' and V' as large."""

    name = ThisPack.name
    counted = WIDE

    def reads(self, adapter: FluxAdapter) -> bool:
        return True

    def can(self, use: Use) -> bool:
        return True

    def load(self, adapter: FluxAdapter, shape: FluxShape, folder: Path, device: torch.device) -> Any:
        path = folder / "flux.safetensors"
        save_file(random_tensors(adapter.shapes(shape)), path)
        return ThisPack().load(path.name)

    def apply(self, model: Model, loaded: Any, adapter: FluxAdapter, use: Use = PLAIN) -> Model:
        picture, black = adapter.features(), random(1, adapter.embed, seed=SEED + 1)
        nothing = replace(picture, image_embeds=torch.zeros(1, adapter.embed))
        prompt = ImagePrompt.known((Part(picture),), nothing, "random features", black)
        return ApplyIPAdapter.execute(model, loaded, prompt, 1.0, 0.0, use.end_at, mask=use.mask).result[0]

    def held(self, model: Model, loaded: Any) -> Iterator[Tensor]:
        yield from ThisPack().held(model)

    def mend(self) -> None:
        """It misses nothing."""
