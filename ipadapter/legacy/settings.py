"""What the settings of ComfyUI_IPAdapter_plus mean here.

Its weight types are this pack's layer presets. Three of them have a second weight that does not depend on the first:
such a setting becomes two strengths, one for the layers of each, and no layer is in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import IPAdapterError
from ..prompts.prompt import Order
from ..strength.layers import LayerRule, PresetRule, read_layer_weights
from ..strength.presets import LAYER_PRESETS
from ..strength.strength import Scaling, Strength
from .migration.new_nodes import BOOSTED_COMPOSITION, BOOSTED_STYLE, NEW_WEIGHT_TYPES, STANDARD, TEXT_FIRST

OTHER_NAMES = {
    STANDARD: "linear",
    TEXT_FIRST: "ease out",
    BOOSTED_STYLE: "style transfer precise",
    BOOSTED_COMPOSITION: "composition precise",
}
WITHOUT_MIDDLE = "all: 1, middle: 0"


@dataclass(frozen=True)
class LegacySettings:
    """How strongly an old node applies its images. A list of weights has one for each frame."""

    weight: float | Sequence[float] = 1.0
    weight_type: str = "linear"
    start_at: float = 0.0
    end_at: float = 1.0
    scaling: Scaling = Scaling.VALUES
    order: Order = Order.TOGETHER
    middle_block: bool = True
    layer_weights: str = ""
    style_boost: float = 1.0
    composition_boost: float = 0.0


SECOND_WEIGHT: dict[str, Callable[[LegacySettings], float]] = {
    "style and composition": lambda settings: 1.0,
    BOOSTED_STYLE: lambda settings: settings.style_boost,
    BOOSTED_COMPOSITION: lambda settings: settings.composition_boost,
}


def strengths_of(settings: LegacySettings) -> tuple[Strength, ...]:
    """One strength, or two for layers that do not meet. Raises IPAdapterError for what cannot be read."""
    plain = Strength(1.0, settings.start_at, settings.end_at, middle_rules(settings), scaling=settings.scaling)
    if settings.layer_weights.strip():
        return (with_weight(plain, settings, read_layer_weights(settings.layer_weights)),)
    name = layer_preset_of(settings.weight_type)
    if settings.weight_type not in SECOND_WEIGHT:
        return (with_weight(plain, settings, PresetRule(name)),)
    second = SECOND_WEIGHT[settings.weight_type](settings)
    rule = PresetRule(name, first=0.0)
    return (
        with_weight(plain, settings, PresetRule(name, second=0.0)),
        replace(plain, weight=second, layers=(rule, *plain.layers)),
    )


def layer_preset_of(weight_type: str) -> str:
    """The preset that a weight type is. Raises IPAdapterError for one that is none."""
    name = OTHER_NAMES.get(weight_type, weight_type)
    if name not in LAYER_PRESETS:
        raise IPAdapterError(f"there is no weight_type '{weight_type}': choose one of {', '.join(NEW_WEIGHT_TYPES)}.")
    return name


def middle_rules(settings: LegacySettings) -> tuple[LayerRule, ...]:
    """Nothing, or what leaves the middle block out."""
    return () if settings.middle_block else (read_layer_weights(WITHOUT_MIDDLE),)


def with_weight(strength: Strength, settings: LegacySettings, rule: LayerRule) -> Strength:
    """The weight, by frame where there is one for each and pictures go frame by frame, else the first."""
    weights = given_weights(settings.weight)
    layers = (rule, *strength.layers)
    if settings.order is Order.FRAME_BY_FRAME and len(weights) > 1:
        return replace(strength, frames=weights, layers=layers)
    return replace(strength, weight=weights[0], layers=layers)


def given_weights(weight: float | Sequence[float]) -> tuple[float, ...]:
    """A number or a list of them. Raises IPAdapterError for an empty one."""
    weights = tuple(map(float, weight)) if isinstance(weight, Sequence) else (float(weight),)
    if not weights:
        raise IPAdapterError("weight is an empty list: give a number, or one for each frame.")
    return weights
