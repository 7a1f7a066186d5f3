"""What InstantCharacter reads, of small random towers, against transformers."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pack.ipadapter.encoders.published import DINOV2
from pack.ipadapter.encoders.published import SIGLIP as SIGLIP_384
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.encoders.character import JoinedVision, read_depths
from pack.ipadapter.host.encoders.encoder import pixel_format
from pack.ipadapter.host.library import finding
from pack.ipadapter.images.pixels import Fit, PixelFormat, prepare_pixels
from pack.ipadapter.prompts.combining import Combination, combine_prompts
from pack.ipadapter.prompts.files import read_prompt, write_prompt
from pack.ipadapter.prompts.prompt import ImagePrompt
from pack.nodes.encode import EncodeImagePrompt
from pack.nodes.load import JoinImageEncoders
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


@cache
def joined() -> JoinedVision:
    return JoinImageEncoders.execute(pair("siglip")[0], pair("dino")[0]).result[0]


def expected(images: Tensor) -> Tensor:
    """Late states of the whole, early ones, late ones of the quarters: of both towers beside each other."""
    towers = []
    for kind in DEEP:
        form = pixel_format(pair(kind)[0])
        deep, shallow = reference(
            kind, prepare_pixels(images, None, Fit.STRETCH, PixelFormat(SIZE, form.mean, form.std))
        )
        large = prepare_pixels(images, None, Fit.STRETCH, PixelFormat(2 * SIZE, form.mean, form.std))
        corners = [(0, 0), (0, SIZE), (SIZE, 0), (SIZE, SIZE)]  # top left, top right, bottom left, bottom right
        crops = [large[:, :, top : top + SIZE, left : left + SIZE] for top, left in corners]
        towers.append(torch.cat([deep, shallow, *(reference(kind, crop)[0] for crop in crops)], dim=1))
    return torch.cat(towers, dim=2)


def encode_joined(images: Tensor, **more: Any) -> ImagePrompt:
    return EncodeImagePrompt.execute(joined(), images, "auto", **more).result[0]


def test_a_prompt_of_two_encoders_has_the_layers_of_both_and_what_siglip_gives_alone():
    prompt, alone = (
        encode_joined(picture(2)),
        EncodeImagePrompt.execute(pair("siglip")[0], picture(2), "auto").result[0],
    )
    (part,), (plain,) = prompt.parts, alone.parts
    assert part.positive.character.shape == (2, 8 * PATCHES, 2 * WIDTH)
    assert far(part.positive.character, expected(picture(2))) <= TOLERANCE
    assert torch.equal(part.positive.penultimate, plain.positive.penultimate)
    assert torch.equal(prompt.zero_pixels.image_embeds, alone.zero_pixels.image_embeds)
    assert prompt.zero_pixels.character.shape == (1, 8 * PATCHES, 2 * WIDTH) and not prompt.nothing.character.any()
    assert prompt.encoder.startswith("SigLIP and DINOv2 (56 px") and plain.positive.character is None


def test_find_puts_both_together(monkeypatch):
    towers = {SIGLIP_384: pair("siglip")[0], DINOV2: pair("dino")[0]}
    monkeypatch.setattr(finding, "load_encoder", lambda file, kind: towers[kind])
    both = finding.load_encoders([("a", SIGLIP_384), ("b", DINOV2)])
    assert isinstance(both, JoinedVision) and [*both.towers.values()] == [*towers.values()]
    assert finding.load_encoders([("a", DINOV2)]) is towers[DINOV2] and finding.load_encoders([]) is None


def test_negative_images_masks_and_weights_go_with_it():
    mask = torch.zeros(1, 70, 130)
    mask[..., :65] = 1
    prompt = encode_joined(picture(), negative_image=picture(2), mask=mask, weights="0.5")
    (part,) = prompt.parts
    assert far(part.negative.character, expected(picture(2))) <= TOLERANCE and part.weights == (0.5,)
    assert far(part.positive.character, expected(picture())) > 0.1
    blended = combine_prompts([prompt, encode_joined(picture())], Combination.AVERAGE)
    assert blended.parts[0].positive.character.shape == part.positive.character.shape


def test_a_prompt_of_two_encoders_is_kept_in_a_file_to_the_bit(tmp_path):
    prompt = encode_joined(picture())
    found = read_prompt(write_prompt(tmp_path / "a.safetensors", prompt), "a.safetensors")
    assert torch.equal(found.parts[0].positive.character, prompt.parts[0].positive.character)
    assert torch.equal(found.zero_pixels.character, prompt.zero_pixels.character)


def test_a_closer_look_is_refused():
    with pytest.raises(IPAdapterError, match="detail needs an image encoder with a class token"):
        encode_joined(picture(), detail=2)


def test_it_is_the_siglip_for_other_nodes():
    from nodes import CLIPVisionEncode

    ours, alone = (CLIPVisionEncode().encode(one, picture(), "none")[0] for one in (joined(), pair("siglip")[0]))
    assert torch.equal(ours["penultimate_hidden_states"], alone["penultimate_hidden_states"])


def test_the_towers_are_left_as_they_were():
    dino, pixels = pair("dino")[0], torch.zeros(1, 3, SIZE, SIZE)
    before = dino.model(pixel_values=pixels)[0]
    read_depths(dino, pixels)
    assert torch.equal(dino.model(pixel_values=pixels)[0], before)
    assert not any(module._forward_hooks for module in dino.model.modules())


@pytest.mark.parametrize("given", [("CLIP", "DINOv2"), ("DINOv2", "SigLIP"), ("SigLIP", "DINOv2")])
def test_other_encoders_are_refused_in_a_sentence(given):
    with pytest.raises(IPAdapterError, match=r"InstantCharacter reads a .* but is given a .* load SigLIP .*giant\."):
        JoinImageEncoders.execute(*map(encoder, given))
