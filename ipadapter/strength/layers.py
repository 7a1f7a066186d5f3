"""Weights by cross-attention layer: presets, one number a level of the model, or typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch

from ..backbones.backbone import BlockName, CrossAttentionLayer
from ..backbones.known import BACKBONES, backbone_of
from ..backbones.presets import ByPart, ByShape, LayerShare, Slope
from ..errors import IPAdapterError
from ..numbers import WEIGHT, require, require_all, shorten
from ..typed import entries, weighed
from .presets import GENERAL


@dataclass(frozen=True)
class LayerWeight:
    """What one layer's strength is multiplied by. An inverted layer shows the image to the negative side only."""

    weight: float = 1.0
    inverted: bool = False

    def times(self, other: LayerWeight) -> LayerWeight:
        """Two rules for one layer."""
        return LayerWeight(self.weight * other.weight, self.inverted or other.inverted)


LayerWeights = tuple[LayerWeight, ...]  # one for each of a model's layers


@dataclass(frozen=True)
class PresetRule:
    """A preset by its name. `second` is its second weight, as a multiple of the first; with `first` 0 it acts alone."""

    name: str
    second: float = 1.0
    first: float = 1.0

    def __post_init__(self) -> None:
        require_all((self.second, self.first), f"a weight of the layers '{self.name}'", WEIGHT)

    def weights(self, layers: Sequence[CrossAttentionLayer]) -> LayerWeights:
        """Raises IPAdapterError where the preset is not defined for such a model."""
        backbone = backbone_of(layers)
        known = GENERAL | {**backbone.presets}
        preset = known.get(self.name)
        if preset is None:
            raise IPAdapterError(
                f"the layer weights '{self.name}' are not known for {backbone.models}: choose one of "
                f"{', '.join(known)}."
            )
        return tuple(combine(share, self.first, self.second) for share in preset_shares(preset, layers, self.name))


def combine(share: LayerShare, first: float, second: float) -> LayerWeight:
    """A share with both weights put in."""
    return LayerWeight(share.first * first + share.second * second, share.inverted)


@dataclass(frozen=True)
class LevelRule:
    """Numbers by level; a model without such a level does not read its number."""

    values: Mapping[str, float]

    def __post_init__(self) -> None:
        for level, value in self.values.items():
            require(value, f"the weight of {level}", WEIGHT)

    def weights(self, layers: Sequence[CrossAttentionLayer]) -> LayerWeights:
        """Each layer's level's number. Raises IPAdapterError where a model has none of the levels."""
        backbone = backbone_of(layers)
        if not self.values.keys() & {*backbone.levels} and any(value != 1 for value in self.values.values()):
            raise IPAdapterError(
                f"weights of {', '.join(self.values)} mean nothing in {backbone.models}, whose levels are "
                f"{' and '.join(backbone.levels)}: type weights by layer, such as {backbone.levels[0]}: 0.5."
            )
        levels = backbone.levels_of(layers)
        return tuple(LayerWeight(self.values.get(levels[layer.block], 1.0)) for layer in layers)


@dataclass(frozen=True)
class TypedRule:
    """Entries `selector: weight`; a layer that none names weighs 0, and of two that name it the later counts."""

    entries: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        for selector, weight in self.entries:
            require(weight, f"layer weight '{shorten(selector)}'", WEIGHT)

    def weights(self, layers: Sequence[CrossAttentionLayer]) -> LayerWeights:
        """Raises IPAdapterError for a selector that names nothing in this model."""
        chosen = [0.0] * len(layers)
        for selector, weight in self.entries:
            for index in select_layers(selector, layers):
                chosen[index] = weight
        return tuple(LayerWeight(weight) for weight in chosen)


LayerRule = PresetRule | LevelRule | TypedRule


def weigh_layers(rules: Sequence[LayerRule], layers: Sequence[CrossAttentionLayer]) -> LayerWeights:
    """The product of all rules for each layer."""
    weighed: LayerWeights = tuple(LayerWeight() for _ in layers)
    for rule in rules:
        weighed = tuple(one.times(other) for one, other in zip(weighed, rule.weights(layers), strict=True))
    return weighed


def transformers_of(layers: Sequence[CrossAttentionLayer]) -> tuple[BlockName, ...]:
    """The blocks that hold a transformer, in the order in which the model runs them."""
    parts, blocks = backbone_of(layers).parts, dict.fromkeys(layer.block for layer in layers)
    return tuple(sorted(blocks, key=lambda block: (parts.index(block[0]), block[1])))


@singledispatch
def preset_shares(preset: object, layers: Sequence[CrossAttentionLayer], name: str) -> list[LayerShare]:
    """What each layer gets of a preset."""
    raise TypeError(preset)


@preset_shares.register
def _(preset: Slope, layers: Sequence[CrossAttentionLayer], name: str) -> list[LayerShare]:
    order = transformers_of(layers)
    return [LayerShare(preset.share(order.index(layer.block), len(order))) for layer in layers]


@preset_shares.register
def _(preset: ByPart, layers: Sequence[CrossAttentionLayer], name: str) -> list[LayerShare]:
    return [LayerShare(preset.parts.get(layer.place[0], 1.0)) for layer in layers]


@preset_shares.register
def _(preset: ByShape, layers: Sequence[CrossAttentionLayer], name: str) -> list[LayerShare]:
    backbone = backbone_of(layers)
    table = preset.tables.get(backbone.shape_of(layers) or "")
    if table is None:
        raise IPAdapterError(
            f"the layer weights '{name}' {backbone.tables}, but this model has "
            f"{len(transformers_of(layers))}: choose a preset such as linear or ease in, or type weights by layer."
        )
    return [table.blocks.get(layer.block, table.rest) for layer in layers]


ENTRY = weighed("(.+?)")
ANY_PART = "|".join(part for backbone in BACKBONES for part in backbone.parts)
BLOCK_SELECTOR = re.compile(rf"^({ANY_PART})(?:[ _](\d+))?(?:\.(\d+))?$")
LEVEL_SELECTOR = re.compile(rf"^({ANY_PART}) level (\d+)$")
MOST_SELECTOR_DIGITS = 9  # of a transformer's number


def read_layer_weights(text: str) -> TypedRule:
    """Weights as a person types them: `0: 1, 3: 0.5`, `output 1: 1`, `input 8.3: 0.2`, `middle: 0`, `all: 1`.

    Raises IPAdapterError naming the entry that cannot be read.
    """
    return TypedRule(tuple(read_entry(entry) for entry in entries(text, r",;\n")))


def read_entry(entry: str) -> tuple[str, float]:
    """One entry."""
    match = ENTRY.match(entry)
    if not match or not is_selector(match[1].lower()):
        raise IPAdapterError(
            f"layer weight '{shorten(entry)}' cannot be read: write a layer and a weight, such as 6: 1, output 1: 0.8, "
            "input 8.3: 0.2, middle: 0 or all: 1."
        )
    return match[1].lower(), float(match[2])


def is_selector(selector: str) -> bool:
    """Whether a selector is one at all, whatever the model."""
    return (
        selector in ("all", "*")
        or selector.isdecimal()
        or bool(BLOCK_SELECTOR.match(selector) or LEVEL_SELECTOR.match(selector))
    )


def select_layers(selector: str, layers: Sequence[CrossAttentionLayer]) -> list[int]:
    """Indices of the layers a selector names. Raises IPAdapterError where it names none."""
    matches = matcher(selector, layers)
    found = [index for index, layer in enumerate(layers) if matches(layer)]
    if not found:
        blocks = ", ".join(f"{part} {number}" for part, number in transformers_of(layers))
        raise IPAdapterError(
            f"layer weight '{shorten(selector)}' names no layer of this model: its blocks are {blocks} "
            f"(or 0 to {len(transformers_of(layers)) - 1} in that order)."
        )
    return found


def matcher(selector: str, layers: Sequence[CrossAttentionLayer]) -> Callable[[CrossAttentionLayer], bool]:
    """Whether a layer is meant: a number counts transformers in the order of execution."""
    if selector in ("all", "*"):
        return lambda layer: True
    if selector.isdecimal():
        order = transformers_of(layers)
        counted = int(selector) if len(selector) <= MOST_SELECTOR_DIGITS else len(order)
        return lambda layer: order.index(layer.block) == counted
    if match := BLOCK_SELECTOR.match(selector):
        part, number, depth = match[1], match[2], match[3]
        wanted = (part, None if part in backbone_of(layers).single else number, depth)
        return lambda layer: all(w is None or str(w) == str(h) for w, h in zip(wanted, layer.place, strict=True))
    levels = backbone_of(layers).levels_of(layers)
    return lambda layer: levels[layer.block] == selector.replace("level ", "")
