"""Weights by cross-attention layer: presets, one number a level of the UNet, or typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch

from ..backbones.unet import CrossAttentionLayer
from ..errors import IPAdapterError
from ..numbers import WEIGHT, require, require_all, shorten
from .presets import PRESETS, Block, ByPart, ByShape, Share, Slope, Table

EXECUTION = ("input", "middle", "output")  # the order in which a UNet's parts run
SHAPES = {16: "sd15", 11: "sdxl"}  # by the number of transformers
LEVELS = ("input 1", "input 2", "input 3", "middle", "output 1", "output 2", "output 3")


@dataclass(frozen=True)
class LayerWeight:
    """What one layer's strength is multiplied by. An inverted layer shows the image to the negative side only."""

    weight: float = 1.0
    inverted: bool = False

    def times(self, other: LayerWeight) -> LayerWeight:
        """Two rules for one layer."""
        return LayerWeight(self.weight * other.weight, self.inverted or other.inverted)


LayerWeights = tuple[LayerWeight, ...]  # one for each of a UNet's layers


@dataclass(frozen=True)
class PresetRule:
    """A preset by its name. `second` is its second weight, as a multiple of the first; with `first` 0 it acts alone."""

    name: str
    second: float = 1.0
    first: float = 1.0

    def __post_init__(self) -> None:
        require_all((self.second, self.first), f"a weight of the layers '{self.name}'", WEIGHT)

    def weights(self, layers: Sequence[CrossAttentionLayer]) -> LayerWeights:
        """Raises IPAdapterError where the preset is not defined for such a UNet."""
        if self.name not in PRESETS:
            raise IPAdapterError(f"there are no layer weights '{self.name}': choose one of {', '.join(PRESETS)}.")
        preset = shares(PRESETS[self.name], layers, self.name)
        return tuple(combine(share, self.first, self.second) for share in preset)


def combine(share: Share, first: float, second: float) -> LayerWeight:
    """A share with both weights put in."""
    return LayerWeight(share.first * first + share.second * second, share.inverted)


@dataclass(frozen=True)
class LevelRule:
    """One number a level of the UNet, in the order of `LEVELS`; a UNet without such a level does not read it."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        for level, value in zip(LEVELS, self.values, strict=True):
            require(value, f"the weight of {level}", WEIGHT)

    def weights(self, layers: Sequence[CrossAttentionLayer]) -> LayerWeights:
        """Each layer's level's number."""
        by_level = dict(zip(LEVELS, self.values, strict=True))
        levels = levels_of(layers)
        return tuple(LayerWeight(by_level.get(levels[layer.place[:2]], 1.0)) for layer in layers)


@dataclass(frozen=True)
class TypedRule:
    """Entries `selector: weight`; a layer that none names weighs 0, and of two that name it the later counts."""

    entries: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        for selector, weight in self.entries:
            require(weight, f"layer weight '{shorten(selector)}'", WEIGHT)

    def weights(self, layers: Sequence[CrossAttentionLayer]) -> LayerWeights:
        """Raises IPAdapterError for a selector that names nothing in this UNet."""
        chosen = [0.0] * len(layers)
        for selector, weight in self.entries:
            for index in select(selector, layers):
                chosen[index] = weight
        return tuple(LayerWeight(weight) for weight in chosen)


LayerRule = PresetRule | LevelRule | TypedRule


def weigh_layers(rules: Sequence[LayerRule], layers: Sequence[CrossAttentionLayer]) -> LayerWeights:
    """The product of all rules for each layer."""
    weighed: LayerWeights = tuple(LayerWeight() for _ in layers)
    for rule in rules:
        weighed = tuple(one.times(other) for one, other in zip(weighed, rule.weights(layers), strict=True))
    return weighed


def transformers_of(layers: Sequence[CrossAttentionLayer]) -> tuple[Block, ...]:
    """The blocks that hold a transformer, in the order in which the UNet runs them."""
    blocks = dict.fromkeys(layer.place[:2] for layer in layers)
    return tuple(sorted(blocks, key=lambda block: (EXECUTION.index(block[0]), block[1])))


@singledispatch
def shares(preset: object, layers: Sequence[CrossAttentionLayer], name: str) -> list[Share]:
    """What each layer gets of a preset."""
    raise TypeError(preset)


@shares.register
def _(preset: Slope, layers: Sequence[CrossAttentionLayer], name: str) -> list[Share]:
    order = transformers_of(layers)
    return [Share(preset.share(order.index(layer.place[:2]), len(order))) for layer in layers]


@shares.register
def _(preset: ByPart, layers: Sequence[CrossAttentionLayer], name: str) -> list[Share]:
    return [Share(getattr(preset, layer.place[0])) for layer in layers]


@shares.register
def _(preset: ByShape, layers: Sequence[CrossAttentionLayer], name: str) -> list[Share]:
    count = len(transformers_of(layers))
    if count not in SHAPES:
        raise IPAdapterError(
            f"the layer weights '{name}' are defined for SD1.5 (16 transformers) and SDXL (11), but this model has "
            f"{count}: choose a preset such as linear or ease in, or type weights by layer."
        )
    table: Table = getattr(preset, SHAPES[count])
    return [table.blocks.get(layer.place[:2], table.rest) for layer in layers]


def levels_of(layers: Sequence[CrossAttentionLayer]) -> dict[Block, str]:
    """Each block's level: input blocks of consecutive numbers, and the output blocks that mirror them."""
    order = transformers_of(layers)
    inputs = runs([number for part, number in order if part == "input"])
    outputs = [number for part, number in order if part == "output"]
    levels: dict[Block, str] = {(part, number): "middle" for part, number in order if part == "middle"}
    for level, numbers in enumerate(inputs, 1):
        levels |= {("input", number): f"input {level}" for number in numbers}
    for level, run in enumerate(reversed(inputs), 1):
        taken, outputs = outputs[: len(run) + 1], outputs[len(run) + 1 :]
        levels |= {("output", number): f"output {level}" for number in taken}
    return levels | {("output", number): f"output {len(inputs)}" for number in outputs}


def runs(numbers: Sequence[int]) -> list[list[int]]:
    """Consecutive numbers together: 1, 2, 4, 5 to [1, 2], [4, 5]."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found


ENTRY = re.compile(r"^(.+?)\s*[:=]\s*([-+]?(?:\d+\.?\d*|\.\d+))$")
BLOCK = re.compile(r"^(input|output|middle)(?:[ _](\d+))?(?:\.(\d+))?$")
LEVEL = re.compile(r"^(input|output) level (\d+)$")
MOST_DIGITS = 9  # of a transformer's number


def read_layer_weights(text: str) -> TypedRule:
    """Weights as a person types them: `0: 1, 3: 0.5`, `output 1: 1`, `input 8.3: 0.2`, `middle: 0`, `all: 1`.

    Raises IPAdapterError naming the entry that cannot be read.
    """
    entries = [entry.strip() for entry in re.split(r"[,;\n]", text) if entry.strip()]
    return TypedRule(tuple(read_entry(entry) for entry in entries))


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
    return selector in ("all", "*") or selector.isdecimal() or bool(BLOCK.match(selector) or LEVEL.match(selector))


def select(selector: str, layers: Sequence[CrossAttentionLayer]) -> list[int]:
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
        counted = int(selector) if len(selector) <= MOST_DIGITS else len(order)
        return lambda layer: order.index(layer.place[:2]) == counted
    if match := BLOCK.match(selector):
        part, number, depth = match[1], match[2], match[3]
        wanted = (part, number if part != "middle" else None, depth)
        return lambda layer: all(w is None or str(w) == str(h) for w, h in zip(wanted, layer.place, strict=True))
    levels = levels_of(layers)
    return lambda layer: levels[layer.place[:2]] == selector.replace("level ", "")
