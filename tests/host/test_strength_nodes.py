"""The nodes that make strengths: what they hand on, and the pictures they show."""

from __future__ import annotations

import pytest
import torch
from pack.ipadapter.backbones.unet import UNET
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.strength.strength import Strength, make_strength
from pack.nodes.apply import ApplyIPAdapter
from pack.nodes.strength import ImagePromptCurve, ImagePromptFrames, ImagePromptLayers

from tests.comfyui import needs
from tests.image_prompts import image_prompt
from tests.small import SD15, SDXL, make_pair
from tests.world import Settings, adapter_file, host_adapter, picture


def layers(layout=SD15, preset="linear", second=1.0, weights="", strength=None, **levels):
    values = dict.fromkeys((level.replace(" ", "_") for level in UNET.levels), 1.0) | levels
    model = make_pair(layout).host
    return ImagePromptLayers.execute(model, preset, second, weights, strength, **values).result


def curve(keyframes="0: 1, 1: 0", interpolation="linear", low=0.0, high=1.0, curve=None, strength=None):
    return ImagePromptCurve.execute(keyframes, interpolation, low, high, curve, strength).result


def frames(weights="1, 0", timing="linear", count=3, start=0, end=9999, strength=None):
    return ImagePromptFrames.execute(weights, timing, count, start, end, 0, strength).result


def red(image: torch.Tensor) -> int:
    """Pixels in the colour of inverted layers."""
    return int(((image[..., 0] > 0.7) & (image[..., 1] < 0.35)).sum())


@pytest.mark.parametrize("layout", [SD15, SDXL], ids=["sd15", "sdxl"])
def test_layers_are_drawn_as_bars_and_inverted_ones_are_red(layout):
    (_, plain), (_, precise) = layers(layout), layers(layout, "style transfer precise")
    assert plain.shape == precise.shape == (1, 220, 480, 3)
    assert red(plain) == 0 < red(precise)


def test_a_chain_of_strengths_acts_as_one():
    strength, _ = layers(preset="ease in", middle=0.5)
    strength, _ = curve("0: 0.5", strength=strength)
    strength, _ = frames("1, 0.2", strength=strength)
    made = make_strength(Strength(0.8), "linear", strength)
    assert made.level(0.3) == 0.5 and made.frames == pytest.approx((1.0, 0.6, 0.2)) and len(made.layers) == 3


def test_the_node_applies_what_the_strength_says():
    """A curve that is one half throughout is half the weight."""
    adapter, model, prompt = host_adapter(adapter_file(SD15, "base")), make_pair(SD15).host, image_prompt()

    def drawn(weight, strength=None, layers="linear"):
        out = ApplyIPAdapter.execute(model, adapter, prompt, weight, 0.0, 1.0, layers, strength=strength)
        return picture(out.result[0], SD15, Settings(steps=2))

    assert (drawn(1.0, curve("0: 0.5")[0]) - drawn(0.5)).abs().max() <= 1e-4
    assert torch.equal(drawn(1.0, layers(preset="style transfer")[0]), drawn(1.0, layers="style transfer"))


@needs("comfy_api.input", "LinearCurve")
def test_a_curve_of_the_editor_takes_the_place_of_the_keyframes():
    from comfy_api.input import LinearCurve

    strength, drawn = curve(curve=LinearCurve([(0.0, 1.0), (1.0, 0.0)]), low=0.2, high=1.2)
    (made,) = strength.curves
    assert made.value(0.0) == pytest.approx(1.2) and made.value(1.0) == pytest.approx(0.2)
    assert made.value(0.5) == pytest.approx(0.7) and drawn.shape == (1, 220, 480, 3)


def test_frames_hold_their_ends():
    strength, _ = frames(count=5, start=1, end=3)
    assert strength.frames[0] == 1.0 and strength.frames[-1] == 0.0 and len(strength.frames) == 5


REFUSED = {
    "keyframes are empty": lambda: curve(" "),
    "outside the sampling": lambda: curve("2: 1"),
    "names no layer of this model": lambda: layers(weights="output 40: 1"),
    "cannot be read: write a layer": lambda: layers(weights="everything: 1"),
    "is not a number": lambda: frames("one, two"),
    "has weights for 3 frames and is given weights for 4": lambda: frames(count=4, strength=frames(count=3)[0]),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_meant_is_refused(sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        REFUSED[sentence]()
