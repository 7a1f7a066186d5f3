"""What InstantCharacter reads, of small random towers, against transformers."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.encoders.character import encode_character, read_depths
from pack.ipadapter.host.encoders.encoder import pixel_format
from pack.ipadapter.images.pixels import Fit, PixelFormat, prepare_pixels
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model, SiglipVisionConfig, SiglipVisionModel

from tests.host.test_encoder import DINO2, SIGLIP, encoder, vision_model

SIZE, PATCHES, WIDTH = 56, 16, 64
TOLERANCE = 5e-5
DEEP = {"siglip": SIGLIP | {"num_hidden_layers": 27}, "dino": DINO2 | {"num_hidden_layers": 30}}
SIZES = {"hidden_size": WIDTH, "num_attention_heads": 4, "patch_size": 14}


def theirs(kind: str) -> nn.Module:
    """transformers' model of the same sizes; the host's SigLIP has norms with CLIP's epsilon."""
    depth = DEEP[kind]["num_hidden_layers"]
    if kind == "dino":
        return Dinov2Model(Dinov2Config(num_hidden_layers=depth, image_size=518, **SIZES))
    perceptron = {"intermediate_size": 128, "layer_norm_eps": 1e-5, "vision_use_head": False}
    return SiglipVisionModel(SiglipVisionConfig(num_hidden_layers=depth, image_size=SIZE, **perceptron, **SIZES))


@cache
def pair(kind: str) -> tuple[Any, nn.Module]:
    """The host's and transformers', with the same weights, which half precision has exactly."""
    host, twin = vision_model(DEEP[kind]), theirs(kind).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for key, parameter in twin.named_parameters():
        scale = ("norm" in key and key.endswith("weight")) or "lambda" in key
        parameter.copy_((torch.randn(parameter.shape, generator=generator) * 0.1 + scale).half())
    with tempfile.TemporaryDirectory() as folder:  # under the names that published files have
        twin.save_pretrained(folder)
        state = load_file(Path(folder) / "model.safetensors")
    tower = "vision_model." * (kind == "siglip")  # which this version of transformers may leave out
    missing, _ = host.load_sd({f"{tower}{key.removeprefix(tower)}": tensor for key, tensor in state.items()})
    assert not missing
    return host, twin


def picture(count: int = 1) -> Tensor:
    return torch.rand(count, 70, 130, 3, generator=torch.Generator().manual_seed(9))


def far(ours: Tensor, others: Tensor) -> float:
    assert ours.shape == others.shape
    return float((ours - others).abs().max())


READ = {"siglip": ((7, 13, 26), 0), "dino": ((9, 19, 29), 1)}  # as the reference counts, embeddings first


def reference(kind: str, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Deep and shallow."""
    out = pair(kind)[1](pixels, output_hidden_states=True)
    layers, first = READ[kind]
    return out.last_hidden_state[:, first:], torch.cat([out.hidden_states[i][:, first:] for i in layers], dim=1)


@pytest.mark.parametrize("kind", DEEP)
def test_the_layers_that_are_read_equal_transformers(kind):
    pixels = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    ours, (deep, shallow) = read_depths(pair(kind)[0], pixels), reference(kind, pixels)
    assert deep.shape == (2, PATCHES, WIDTH) and shallow.shape == (2, 3 * PATCHES, WIDTH)
    assert far(ours.deep, deep) <= TOLERANCE and far(ours.shallow, shallow) <= TOLERANCE
    assert far(shallow[:, :PATCHES], shallow[:, PATCHES : 2 * PATCHES]) > 0.1


def test_a_picture_is_read_whole_and_as_four_crops_by_both():
    images = picture(2)
    made = encode_character(pair("siglip")[0], pair("dino")[0], images)
    low, high = [], []
    for kind in DEEP:
        form = pixel_format(pair(kind)[0])
        low.append(reference(kind, prepare_pixels(images, None, Fit.STRETCH, PixelFormat(SIZE, form.mean, form.std))))
        large = prepare_pixels(images, None, Fit.STRETCH, PixelFormat(2 * SIZE, form.mean, form.std))
        corners = [(0, 0), (0, SIZE), (SIZE, 0), (SIZE, SIZE)]  # top left, top right, bottom left, bottom right
        crops = [large[:, :, top : top + SIZE, left : left + SIZE] for top, left in corners]
        high.append(torch.cat([reference(kind, crop)[0] for crop in crops], dim=1))
    assert made.high_deep.shape == (2, 4 * PATCHES, 2 * WIDTH)
    assert far(made.low_deep, torch.cat([deep for deep, _ in low], dim=2)) <= TOLERANCE
    assert far(made.low_shallow, torch.cat([shallow for _, shallow in low], dim=2)) <= TOLERANCE
    assert far(made.high_deep, torch.cat(high, dim=2)) <= TOLERANCE


def test_the_towers_are_left_as_they_were():
    dino, pixels = pair("dino")[0], torch.zeros(1, 3, SIZE, SIZE)
    before = dino.model(pixel_values=pixels)[0]
    read_depths(dino, pixels)
    assert torch.equal(dino.model(pixel_values=pixels)[0], before)
    assert not any(module._forward_hooks for module in dino.model.modules())


@pytest.mark.parametrize("given", [("CLIP", "DINOv2"), ("DINOv2", "SigLIP"), ("SigLIP", "DINOv2")])
def test_other_encoders_are_refused_in_a_sentence(given):
    with pytest.raises(IPAdapterError, match=r"InstantCharacter reads a .* but is given a .* load SigLIP .*giant\."):
        encode_character(*map(encoder, given), picture())
