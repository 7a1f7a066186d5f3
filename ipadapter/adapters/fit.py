"""Whether an adapter is for a model: layer for layer, or a sentence that names both sides."""

from __future__ import annotations

from torch import nn

from ..backbones.backbone import CrossAttentionLayer
from ..backbones.bases import other_model
from ..backbones.known import backbone_of, model_of, require_layers
from ..errors import IPAdapterError
from .family import Family
from .spec import AdapterSpec


def match_layers(spec: AdapterSpec, unet: nn.Module) -> tuple[CrossAttentionLayer, ...]:
    """The UNet's layers, one for each of the adapter's.

    Raises IPAdapterError naming both sides where the model is no UNet or one of another base.
    """
    found = require_layers(unet, f"'{spec.name}' is for {spec.base}")
    model, layers = model_of(unet, found), acting_layers(spec.family, found)
    if not agrees(spec, layers, model.base):
        have, want = (f"{count} layers, {width}-wide context" for count, width in sides(spec, layers))
        raise IPAdapterError(
            f"'{spec.name}' is for {spec.base} ({have}), but the model is {model.name} ({want}): "
            f"{other_model(model, spec.base)}."
        )
    return layers


def acting_layers(family: Family, layers: tuple[CrossAttentionLayer, ...]) -> tuple[CrossAttentionLayer, ...]:
    """Those of a model's layers in which a family acts; all of another kind of model's."""
    return tuple(layer for layer in layers if not family.parts or layer.place[0] in family.parts) or layers


def narrowing_of(spec: AdapterSpec, unet: nn.Module) -> nn.Linear | None:
    """What the UNet narrows its text with, where an adapter's tokens are as wide as that and go through it too.

    Raises IPAdapterError where the adapter asks for one and the UNet has none.
    """
    if not spec.family.narrowed_to:
        return None
    narrowing = getattr(unet, "encoder_hid_proj", None)
    width = spec.projection.context_dim
    if not isinstance(narrowing, nn.Linear) or narrowing.weight.shape != (spec.context_dim, width):
        raise IPAdapterError(
            f"'{spec.name}' makes tokens {width} wide, which Kolors' UNet narrows to {spec.context_dim} with a layer "
            "of its own (encoder_hid_proj), but this model has no such layer: load Kolors with a loader that "
            "keeps it in the model."
        )
    return narrowing


def agrees(spec: AdapterSpec, layers: tuple[CrossAttentionLayer, ...], base: str) -> bool:
    """Whether an adapter is for a UNet of these layers and this base."""
    widths, is_kind = tuple(layer.channels for layer in layers), backbone_of(layers) is spec.family.backbone
    reads_text = spec.family.joining is None  # in a joint attention tokens may be of any width
    as_wide = not reads_text or layers[0].context_dim == spec.context_dim
    return is_kind and widths == spec.channels and as_wide and base == spec.base


def sides(spec: AdapterSpec, layers: tuple[CrossAttentionLayer, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Layer count and context width, of the adapter and of the model."""
    return (len(spec.channels), spec.context_dim), (len(layers), layers[0].context_dim)
