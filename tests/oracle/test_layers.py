"""Weights by layer, against diffusers' own scales by block."""

from __future__ import annotations

import pytest
from diffusers.loaders.unet_loader_utils import _maybe_expand_lora_scales
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.layers import PresetRule, read_layer_weights
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.oracle.reference import reference_with, roles_by_cfg
from tests.oracle.test_equality import features
from tests.small import SD15, SHALLOW_SDXL, Layout, make_pair
from tests.world import adapter_file, host_adapter, sample

TOLERANCE = 1e-5


def set_block_scales(unet, scales: dict) -> None:
    """As diffusers' `set_ip_adapter_scale` does with a dictionary."""
    expanded = _maybe_expand_lora_scales(unet, [scales], default_scale=0.0)[0]
    for name, processor in unet.attn_processors.items():
        if hasattr(processor, "scale"):
            found = [value for key, value in expanded.items() if key in name]
            processor.scale = [found[0] if found else 0.0]


def difference(layout: Layout, family: str, rule, scales: dict, weight: float = 1.0) -> float:
    """The largest difference of a noise prediction of a run."""
    file, prompt = adapter_file(layout, family), image_prompt()
    strength = Strength(weight, layers=(rule,))
    _, calls = sample(apply_image_prompt(make_pair(layout).host, host_adapter(file), prompt, strength), layout)
    reference = reference_with(layout, [file], 1.0)
    set_block_scales(reference.unet, scales)
    given = [features(prompt, family)]
    return max((reference.noise(call, roles_by_cfg(call), given) - call.output).abs().max().item() for call in calls)


INSTANT_STYLE = {
    "style transfer": {"up": {"block_0": [0.0, 0.8, 0.0]}},
    "composition": {"down": {"block_2": [0.0, 0.8]}},
}


@pytest.mark.parametrize("preset", INSTANT_STYLE)
@pytest.mark.parametrize("family", ["base", "plus"])
def test_style_and_composition_on_sdxl_are_instant_styles(preset, family):
    assert difference(SHALLOW_SDXL, family, PresetRule(preset), INSTANT_STYLE[preset], 0.8) <= TOLERANCE


TYPED = (
    ("input 1: 0.3, input 8: 1", {"down": {"block_0": [0.3, 0.0], "block_2": [0.0, 1.0]}}),
    ("0: 0.3, 5: 1", {"down": {"block_0": [0.3, 0.0], "block_2": [0.0, 1.0]}}),
    ("middle: 0.5, output 11: -1", {"mid": 0.5, "up": {"block_3": [0.0, 0.0, -1.0]}}),
    ("all: 0.5, output level 1: 2", {"down": 0.5, "mid": 0.5, "up": {"block_1": 2.0, "block_2": 0.5, "block_3": 0.5}}),
)


@pytest.mark.parametrize(("typed", "scales"), TYPED)
def test_typed_weights_equal_diffusers_scales_by_block(typed, scales):
    assert difference(SD15, "base", read_layer_weights(typed), scales) <= TOLERANCE


def test_the_comparison_notices_a_layer_too_many():
    scales = {"up": {"block_0": [0.0, 0.8, 0.0]}}
    assert difference(SHALLOW_SDXL, "base", read_layer_weights("output 1: 0.8, middle: 0.8"), scales) > 100 * TOLERANCE
