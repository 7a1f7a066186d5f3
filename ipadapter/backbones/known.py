"""The kinds of models that there are, and which of them a loaded model is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..errors import IPAdapterError
from .backbone import Backbone, Block, CrossAttentionLayer
from .bases import BaseModel
from .flux import FLUX
from .sd3 import SD3
from .unet import UNET

BACKBONES: tuple[Backbone, ...] = (UNET, FLUX, SD3)
# In sentences of what is refused.
NO_LAYERS = f"has no {' or '.join(backbone.layers_called for backbone in BACKBONES)} layers"
CONNECT = f"connect {', or '.join(backbone.models for backbone in BACKBONES)}"

OWN_FORWARDS = {"ComfyFluxWrapper": "Nunchaku's FLUX"}  # by class: models whose blocks are not the host's


def backbone_of(layers: Sequence[CrossAttentionLayer]) -> Backbone:
    """The kind of model that layers stand in: no two have a part in common."""
    return next(backbone for backbone in BACKBONES if layers[0].place[0] in backbone.parts)


def find_blocks(model: nn.Module) -> tuple[Block, ...]:
    """A model's blocks, in the order of the adapter files' numbers; none where it is of no known kind."""
    return next((found for backbone in BACKBONES if (found := backbone.find_blocks(model))), ())


def find_layers(model: nn.Module) -> tuple[CrossAttentionLayer, ...]:
    """The cross-attention layers of these blocks."""
    return tuple(block.layer for block in find_blocks(model))


def attention_names(model: nn.Module) -> tuple[str, ...]:
    """The names of all attentions of these blocks, as a LoRA over them numbers them."""
    return tuple(name for block in find_blocks(model) for name in block.attentions)


def block_at(name: str) -> str | None:
    """The block whose cross-attention a module of this name is, in users' words."""
    return next((found for backbone in BACKBONES if (found := backbone.block_at(name))), None)


def model_of(model: nn.Module, layers: Sequence[CrossAttentionLayer]) -> BaseModel:
    """What a model is."""
    return backbone_of(layers).identify(model, layers)


def require_layers(model: nn.Module, wish: str) -> tuple[CrossAttentionLayer, ...]:
    """A model's layers. Raises IPAdapterError, with what is wished for, where it is of no known kind."""
    layers = find_layers(model)
    if not layers:
        kind = type(model).__name__
        own = OWN_FORWARDS.get(kind)
        what = f"is {own}, in which no patch of ComfyUI's is asked" if own else NO_LAYERS
        raise IPAdapterError(f"{wish}, but this model ({kind}) {what}: {CONNECT}.")
    return layers
