"""What the settings of the old nodes mean in this pack's terms."""

from __future__ import annotations

import pytest
from pack.ipadapter.backbones.backbone import CrossAttentionLayer
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.legacy.migration.new_nodes import BOOSTED_COMPOSITION, BOOSTED_STYLE, NEW_WEIGHT_TYPES
from pack.ipadapter.legacy.settings import LegacySettings, strengths_of
from pack.ipadapter.prompts.prompt import Order
from pack.ipadapter.strength.layers import LayerWeight, weigh_layers
from pack.ipadapter.strength.strength import Strength


def layers(*blocks: tuple[str, int]) -> list[CrossAttentionLayer]:
    return [CrossAttentionLayer((*block, 0), 320, 768, 8) for block in blocks]


SD15 = layers(*(("input", n) for n in (1, 2, 4, 5, 7, 8)), ("middle", 0), *(("output", n) for n in range(3, 12)))
SDXL = layers(*(("input", n) for n in (4, 5, 7, 8)), ("middle", 0), *(("output", n) for n in range(6)))


def total(settings: LegacySettings, shape: list[CrossAttentionLayer]) -> list[LayerWeight]:
    """What each layer weighs in all strengths together: no layer may be in two of them."""
    every = [times(strength, shape) for strength in strengths_of(settings)]
    found = []
    for weights in zip(*every, strict=True):
        acting = [weight for weight in weights if weight.weight]
        assert len(acting) <= 1
        found.append(acting[0] if acting else LayerWeight(0.0))
    return found


def times(strength: Strength, shape: list[CrossAttentionLayer]) -> list[LayerWeight]:
    weighed = weigh_layers(strength.layers, shape)
    return [LayerWeight(strength.weight * one.weight, one.inverted) for one in weighed]


def acting(settings: LegacySettings, shape: list[CrossAttentionLayer]) -> dict[int, float]:
    """Weights by number of the transformer, those of 0 left out; below 0 where it is pushed away."""
    return {
        t: round(-one.weight if one.inverted else one.weight, 6)
        for t, one in enumerate(total(settings, shape))
        if one.weight
    }


@pytest.mark.parametrize("kind", NEW_WEIGHT_TYPES)
@pytest.mark.parametrize("shape", [SD15, SDXL], ids=["SD1.5", "SDXL"])
def test_every_weight_type_can_be_read(kind, shape):
    assert acting(LegacySettings(0.8, kind, composition_boost=0.3), shape)


def test_style_and_composition_have_two_weights_the_second_of_which_is_1():
    assert acting(LegacySettings(0.5, "style and composition"), SDXL) == {3: 1.0, 6: 0.5}
    assert acting(LegacySettings(0.0, "style and composition"), SDXL) == {3: 1.0}


@pytest.mark.parametrize("weight", [0.8, 0.0])
def test_a_boost_counts_as_it_is_whatever_the_weight(weight):
    style = acting(LegacySettings(weight, BOOSTED_STYLE, style_boost=2.0), SDXL)
    assert style == {3: -2.0, **({6: weight} if weight else {})}
    composition = acting(LegacySettings(weight, BOOSTED_COMPOSITION, composition_boost=0.5), SDXL)
    rest = {t: -0.05 for t in range(11) if t not in (3, 6)}
    assert composition == rest | {6: -0.5} | ({3: weight} if weight else {})


def test_without_a_boost_the_precise_types_push_away_by_the_weight():
    assert acting(LegacySettings(0.8, "style transfer precise"), SDXL) == {3: -0.8, 6: 0.8}


def test_a_boost_of_0_pushes_nothing_away():
    assert acting(LegacySettings(0.8, BOOSTED_COMPOSITION, composition_boost=0.0), SDXL) == {3: 0.8}


def test_the_simplest_nodes_words_are_two_presets():
    assert acting(LegacySettings(0.5, "standard"), SD15) == acting(LegacySettings(0.5, "linear"), SD15)
    first = LegacySettings(0.5, "prompt is more important")
    assert acting(first, SD15) == acting(LegacySettings(0.5, "ease out"), SD15)


def test_typed_layer_weights_take_the_place_of_the_weight_type():
    settings = LegacySettings(0.5, "style transfer", layer_weights="3:1, 6:0.5")
    assert acting(settings, SDXL) == {3: 0.5, 6: 0.25}


@pytest.mark.parametrize(("shape", "middle"), [(SD15, 6), (SDXL, 4)])
def test_the_middle_block_can_be_left_out(shape, middle):
    with_it, without = (acting(LegacySettings(1.0, "linear", middle_block=on), shape) for on in (True, False))
    assert set(with_it) - set(without) == {middle}


def test_a_list_of_weights_is_by_frame_where_pictures_are():
    (strength,) = strengths_of(LegacySettings([1.0, 0.5], order=Order.FRAME_BY_FRAME))
    assert (strength.weight, strength.frames) == (1.0, (1.0, 0.5))
    (strength,) = strengths_of(LegacySettings([0.7, 0.5]))
    assert (strength.weight, strength.frames) == (0.7, None)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (LegacySettings(weight_type="upside down"), "there is no weight_type 'upside down'"),
        (LegacySettings([]), "weight is an empty list"),
        (LegacySettings(start_at=0.5, end_at=0.5), "would never act"),
        (LegacySettings(layer_weights="3=x"), "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told(settings, sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        strengths_of(settings)
