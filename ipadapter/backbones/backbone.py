"""What a kind of model is to an image prompt: where its cross-attention layers are, and what users call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from .bases import BaseModel
from .presets import LayerPreset

Place = tuple[str, int, int]  # part of the model, number of the block, depth in it
BlockName = tuple[str, int]
Grid = tuple[int, int]  # height and width, of latents or of activations


@dataclass(frozen=True)
class CrossAttentionLayer:
    """One layer: where the host finds it, e.g. `("input", 4, 1)` in a UNet, and its sizes."""

    place: Place
    channels: int
    context_dim: int
    heads: int

    @property
    def block(self) -> BlockName:
        """The block it stands in."""
        return self.place[:2]


@dataclass(frozen=True)
class Block:
    """A block with an attention to a text context."""

    name: str  # of the module within the model
    layer: CrossAttentionLayer
    attention: nn.Module  # with W_q, W_k and W_v as `to_q`, `to_k` and `to_v`
    attentions: tuple[str, ...]  # the names of all attentions in it, as a LoRA over them numbers them


class Backbone(Protocol):
    """A kind of model."""

    @property
    def layers_called(self) -> str:
        """What adapters act in, in users' words, as in "has no … layers"."""

    @property
    def models(self) -> str:
        """Those that may be connected, as in "connect …"."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Its parts, in the order in which they run."""

    @property
    def single(self) -> frozenset[str]:
        """Parts of one block, which has no number for users."""

    @property
    def levels(self) -> tuple[str, ...]:
        """All levels that such a model may have, in the order in which they run."""

    @property
    def presets(self) -> Mapping[str, LayerPreset]:
        """Weights by layer that are known by name for it alone."""

    @property
    def tables(self) -> str:
        """What presets that are tables are defined for, in a sentence."""

    @property
    def pixels(self) -> int:
        """Pixels of the picture that a latent pixel stands for, along each side."""

    def short(self, block: BlockName) -> str:
        """A block's name below a bar."""

    def block_at(self, name: str) -> str | None:
        """The block whose cross-attention a module of this name is, in users' words."""

    def find_blocks(self, model: nn.Module) -> tuple[Block, ...]:
        """Every block with such an attention, in the order of the adapter files' numbers; none in another kind."""

    def identify(self, model: nn.Module, layers: Sequence[CrossAttentionLayer]) -> BaseModel:
        """What a model of this kind is."""

    def levels_of(self, layers: Sequence[CrossAttentionLayer]) -> dict[BlockName, str]:
        """Each block's level."""

    def shape_of(self, layers: Sequence[CrossAttentionLayer]) -> str | None:
        """Which table of such a preset a model has; None for none."""

    def grids(self, latent: Grid) -> tuple[Grid, ...]:
        """The sizes that activations have for a latent picture."""
