"""What a UNet is called stands in its own files: another kind of model is another pair of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pack.ipadapter.backbones.known import BACKBONES, backbone_of
from pack.ipadapter.backbones.unet import UNET

from tests.plain.test_layer_weights import SD15, SDXL

ENGINE = Path(__file__).resolve().parents[2] / "ipadapter"
ITS_OWN = {"backbones/unet.py", "backbones/unet_presets.py", "host/backbones/unet.py"}
FLUX_OWN = {"backbones/flux.py", "host/backbones/flux.py"}  # whose hooks are named after the first attention too
# What files call it, and what another pack's graphs do, is no matter of the loaded model.
FORMATS = {"adapters/character.py", "adapters/diffusers_layout.py", "library/loras.py"}
LEGACY = ("legacy/", "host/legacy/")
# "input" is also a folder of ComfyUI's, and a field of a configuration's fault,
# and all three are what ComfyUI calls the residuals of a ControlNet.
OTHER_INPUTS = {
    "server/client.py",
    "host/prompts/files.py",
    "commands/evaluate/systems.py",
    "commands/train/config.py",
    "host/sampling/compiled.py",
}
WORDS = re.compile(r"attn[12]|activations_shape|transformer_blocks|(input|middle|output)_blocks?\b")
PARTS = {"input", "middle", "output"}


def names_of_a_unet(source: str) -> set[str]:
    """What of a UNet's own is in constants, names and attributes; docstrings and comments may speak of it."""
    tree = ast.parse(source)
    said = {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} - said
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    texts = {text for text in constants | attributes if isinstance(text, str)}
    return {text for text in texts if WORDS.search(text)} | (constants & PARTS)


def test_the_search_finds_what_it_is_for():
    source = (
        'def f(unet):\n    """Of attn2."""\n    return unet.set_model_attn2_replace, "input", {"activations_shape": 1}'
    )
    assert names_of_a_unet(source) == {"set_model_attn2_replace", "input", "activations_shape"}


def test_only_its_own_files_say_what_a_unet_calls_its_parts():
    found = {}
    for path in ENGINE.rglob("*.py"):
        name = path.relative_to(ENGINE).as_posix()
        if name not in ITS_OWN | FLUX_OWN | FORMATS and not name.startswith(LEGACY):
            there = names_of_a_unet(path.read_text(encoding="utf-8")) - (PARTS if name in OTHER_INPUTS else set())
            found |= {name: there} if there else {}
    assert not found


def test_no_two_kinds_of_models_have_a_part_in_common():
    parts = [part for backbone in BACKBONES for part in backbone.parts]
    assert len(parts) == len({*parts})


@pytest.mark.parametrize("layers", [SD15, SDXL], ids=["sd15", "sdxl"])
def test_layers_say_what_they_stand_in(layers):
    assert backbone_of(layers) is UNET
    assert {*UNET.levels_of(layers).values()} <= {*UNET.levels}
    assert all(UNET.short(layer.block).split()[0] in {"in", "mid", "out"} for layer in layers)


def test_a_grid_is_half_of_the_one_above_rounded_up():
    assert UNET.grids((17, 40)) == ((17, 40), (9, 20), (5, 10), (3, 5), (2, 3))
