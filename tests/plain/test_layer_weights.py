"""Weights by layer: every preset on the public layouts, sliders, and what people type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.ipadapter.backbones.backbone import CrossAttentionLayer
from pack.ipadapter.backbones.unet import UNET
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.strength.layers import (
    LevelRule,
    PresetRule,
    TypedRule,
    read_layer_weights,
    transformers_of,
    weigh_layers,
)
from pack.ipadapter.strength.presets import LAYER_PRESETS


def layers(*blocks: tuple[str, int, int]) -> tuple[CrossAttentionLayer, ...]:
    """Layers of blocks (part, number, depth), in the files' order."""
    places = [(part, number, d) for part, number, depth in blocks for d in range(depth)]
    return tuple(CrossAttentionLayer(place, 1280, 768, 8) for place in places)


def parts(part: str, *numbers: int, depth: int = 1) -> list[tuple[str, int, int]]:
    return [(part, number, depth) for number in numbers]


SD15 = layers(*parts("input", 1, 2, 4, 5, 7, 8), *parts("output", *range(3, 12)), ("middle", 0, 1))
SDXL = layers(
    *parts("input", 4, 5, depth=2),
    *parts("input", 7, 8, depth=10),
    *parts("output", 0, 1, 2, depth=10),
    *parts("output", 3, 4, 5, depth=2),
    ("middle", 0, 10),
)
SMALL = layers(*parts("input", 1, 3), *parts("output", 0, 1), ("middle", 0, 1))


def by_transformer(rule, of) -> list[float]:
    """The weight of each transformer in the order in which the UNet runs them, negative where it is inverted."""
    order, found = transformers_of(of), {}
    for layer, weight in zip(of, rule.weights(of), strict=True):
        found.setdefault(layer.place[:2], set()).add(-weight.weight if weight.inverted else weight.weight)
    assert all(len(values) == 1 for values in found.values())
    return [found[block].pop() for block in order]


def dense(count: int, rest: float = 0.0, **at: float) -> list[float]:
    """`count` weights, those at t3=… and the rest."""
    return [at.get(f"t{index}", rest) for index in range(count)]


def expect(preset: str, of, expected: list[float], second: float = 1.0) -> None:
    assert by_transformer(PresetRule(preset, second), of) == pytest.approx(expected)


STYLE_15 = dict.fromkeys(["t0", "t1", "t2", "t3", *(f"t{t}" for t in range(9, 16))], 1.0)


def test_transformers_are_counted_as_the_host_runs_them():
    assert transformers_of(SD15)[6] == ("middle", 0) and transformers_of(SD15)[9] == ("output", 5)
    assert transformers_of(SDXL)[4] == ("middle", 0) and transformers_of(SDXL)[6] == ("output", 1)


def test_style_and_composition_on_sd15():
    expect("style transfer", SD15, dense(16, **STYLE_15))
    expect("composition", SD15, dense(16, t4=0.25, t5=1.0))
    expect("strong style transfer", SD15, dense(16, 1.0, t4=0.0, t5=0.0))
    expect("style and composition", SD15, dense(16, **STYLE_15, t4=0.125, t5=0.5), second=0.5)
    expect("strong style and composition", SD15, dense(16, 1.0, t4=0.5, t5=0.5), second=0.5)
    expect("style transfer precise", SD15, dense(16, **STYLE_15, t4=-0.5, t5=-2.0), second=2.0)
    away = dense(16, -0.4, t4=0.25, t5=1.0, t6=-0.04, t7=-0.04, t8=-0.04)
    expect("composition precise", SD15, away, second=0.4)


def test_style_and_composition_on_sdxl():
    expect("style transfer", SDXL, dense(11, t6=1.0))
    expect("composition", SDXL, dense(11, t3=1.0))
    expect("strong style transfer", SDXL, dense(11, 1.0, t3=0.0))
    expect("style and composition", SDXL, dense(11, t3=0.5, t6=1.0), second=0.5)
    expect("strong style and composition", SDXL, dense(11, 1.0, t3=0.5), second=0.5)
    expect("style transfer precise", SDXL, dense(11, t3=-2.0, t6=1.0), second=2.0)
    expect("composition precise", SDXL, dense(11, -0.04, t3=1.0, t6=-0.4), second=0.4)


@pytest.mark.parametrize(("of", "count"), [(SD15, 16), (SDXL, 11)], ids=["sd15", "sdxl"])
def test_slopes_go_from_a_twentieth_to_one(of, count):
    expect("linear", of, [1.0] * count)
    expect("ease in", of, [0.05 + 0.95 * (1 - t / count) for t in range(count)])
    expect("ease out", of, [0.05 + 0.95 * t / count for t in range(count)])
    middle = count / 2
    expect("ease in-out", of, [0.05 + 0.95 * (1 - abs(t - middle) / middle) for t in range(count)])
    expect("reverse in-out", of, [0.05 + 0.95 * abs(t - middle) / middle for t in range(count)])


PARTS_15 = {"input": range(6), "middle": range(6, 7), "output": range(7, 16)}


@pytest.mark.parametrize("part", PARTS_15)
def test_weak_and_strong_parts(part):
    inside = {f"t{t}": 0.2 for t in PARTS_15[part]}
    expect(f"weak {part}", SD15, dense(16, 1.0, **inside))
    expect(f"strong {part}", SD15, dense(16, 0.2, **{key: 1.0 for key in inside}))


def test_a_table_for_two_shapes_is_refused_on_a_third_and_the_rest_is_not():
    with pytest.raises(IPAdapterError, match=r"'style transfer' are defined for SD1.5 .* but this model has 5"):
        PresetRule("style transfer").weights(SMALL)
    assert len(PresetRule("ease in").weights(SMALL)) == 5


def test_a_preset_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(IPAdapterError, match="choose one of linear, ease in"):
        PresetRule("stylish").weights(SD15)


def test_levels_are_those_of_the_unet():
    levels = UNET.levels_of(SD15)
    assert [levels["input", n] for n in (1, 2, 4, 5, 7, 8)] == ["input 1"] * 2 + ["input 2"] * 2 + ["input 3"] * 2
    assert [levels["output", n] for n in range(3, 12)] == ["output 1"] * 3 + ["output 2"] * 3 + ["output 3"] * 3
    levels = UNET.levels_of(SDXL)
    assert {levels["output", n] for n in (0, 1, 2)} == {"output 1"} and levels["output", 5] == "output 2"
    assert levels["input", 8] == "input 2" and levels["middle", 0] == "middle"


def test_a_slider_weighs_its_level():
    rule = LevelRule(dict(zip(UNET.levels, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), strict=True)))
    expected = [0.1] * 2 + [0.2] * 2 + [0.3] * 2 + [0.4] + [0.5] * 3 + [0.6] * 3 + [0.7] * 3
    assert by_transformer(rule, SD15) == expected
    assert by_transformer(rule, SDXL) == [0.1] * 2 + [0.2] * 2 + [0.4] + [0.5] * 3 + [0.6] * 3


TYPED = {
    "3: 0.5, 6: 1": dense(16, t3=0.5, t6=1.0),
    "3:0.5\n6=1.": dense(16, t3=0.5, t6=1.0),
    "all: 1, middle: 0": dense(16, 1.0, t6=0.0),
    "output 5: -2": dense(16, t9=-2.0),
    "input: .5; output level 3: 1": dense(16, t0=0.5, t1=0.5, t2=0.5, t3=0.5, t4=0.5, t5=0.5, t13=1, t14=1, t15=1),
}


@pytest.mark.parametrize("text", TYPED)
def test_typed_weights(text):
    assert by_transformer(read_layer_weights(text), SD15) == TYPED[text]


def test_one_layer_of_a_transformer_can_be_named():
    weights = read_layer_weights("input 8.3: 1, middle.9: 0.5").weights(SDXL)
    found = {layer.place: one.weight for layer, one in zip(SDXL, weights, strict=True) if one.weight}
    assert found == {("input", 8, 3): 1.0, ("middle", 0, 9): 0.5}


@pytest.mark.parametrize("text", ["3", "3: x", "layer 3: 1", "input 4 1", ": 1", "input 8.: 1", "3: 1: 2"])
def test_what_cannot_be_read_is_named(text):
    with pytest.raises(IPAdapterError, match="cannot be read: write a layer and a weight"):
        read_layer_weights(text)


@pytest.mark.parametrize("text", ["16: 1", "input 3: 1", "input 4.1: 1", "output level 4: 1"])
def test_a_layer_the_model_does_not_have_is_named_with_those_it_has(text):
    with pytest.raises(IPAdapterError, match="names no layer of this model: its blocks are input 1, input 2"):
        read_layer_weights(text).weights(SD15)


def test_rules_multiply_and_one_inverted_inverts():
    rules = (PresetRule("style transfer precise", 2.0), TypedRule((("all", 0.5), ("middle", 3.0))))
    weights = weigh_layers(rules, SD15)
    found = {layer.place[:2]: one for layer, one in zip(SD15, weights, strict=True)}
    assert (found["input", 8].weight, found["input", 8].inverted) == (1.0, True)
    assert (found["output", 9].weight, found["output", 9].inverted) == (0.5, False)
    assert found["middle", 0].weight == 0.0


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_a_sentence(text):
    try:
        rule = read_layer_weights(text)
        rule.weights(SD15)
    except IPAdapterError as error:
        assert str(error).count("\n") <= text.count("\n")


@given(st.sampled_from(sorted(LAYER_PRESETS)), st.sampled_from([SD15, SDXL]), st.floats(-5, 5))
def test_every_preset_gives_every_layer_a_weight(name, of, second):
    assert len(PresetRule(name, second).weights(of)) == len(of)
