"""The projections against diffusers' modules with the same weights."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import (
    ImageProjection,
    IPAdapterFaceIDImageProjection,
    IPAdapterFaceIDPlusImageProjection,
    IPAdapterFullImageProjection,
    IPAdapterPlusImageProjection,
)
from pack.ipadapter.adapters.face_settings import FaceSettings, FaceVersion
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.module import load_adapter
from torch import nn

from tests.adapters import (
    AdapterFile,
    Tensors,
    base_shapes,
    face_plus_shapes,
    face_shapes,
    full_face_shapes,
    layer_shapes,
    plus_shapes,
    random_adapter,
)
from tests.plain.public import KINDS, checkpoint_of, on_meta

TOLERANCE = 1e-6  # of values of about 1

CASES = {
    "sd15 base": (base_shapes(768, 1024), 768, ImageProjection, (1024,)),
    "sdxl base, bigG": (base_shapes(2048, 1280), 2048, ImageProjection, (1280,)),
    "full-face": (full_face_shapes(768, 1280), 768, IPAdapterFullImageProjection, (257, 1280)),
    "sd15 plus, 12 heads": (plus_shapes(768, 1280, 16, 768, 768), 768, IPAdapterPlusImageProjection, (257, 1280)),
    "sdxl plus, 20 heads": (plus_shapes(2048, 1280, 16, 1280, 1280), 2048, IPAdapterPlusImageProjection, (257, 1280)),
    "FaceID": (face_shapes(768), 768, IPAdapterFaceIDImageProjection, (512,)),
    "FaceID Portrait": (face_shapes(768, 16), 768, IPAdapterFaceIDImageProjection, (512,)),
    "Kolors, 12 heads": (plus_shapes(2048, 1024, 16, 2048, 768), 2048, IPAdapterPlusImageProjection, (577, 1024)),
}


def trained_like(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    """Weights that keep activations at about 1, as trained ones do."""
    generator = torch.Generator().manual_seed(5)

    def tensor(key: str, shape: tuple[int, ...]) -> torch.Tensor:
        noise = torch.randn(shape, generator=generator)
        return noise / shape[-1] ** 0.5 if len(shape) > 1 else noise * 0.1 + ("norm" in key and "weight" in key)

    return {key: tensor(key, shape) for key, shape in shapes.items()}


def reference(image_proj: Tensors) -> nn.Module:
    """diffusers' own conversion of the same tensors."""
    unet = UNet2DConditionModel(
        block_out_channels=(32,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        mid_block_type=None,
        layers_per_block=1,
    )
    return unet._convert_ip_adapter_image_proj_to_diffusers(dict(image_proj), low_cpu_mem_usage=True).eval()


@pytest.mark.parametrize("name", CASES)
def test_a_projection_equals_diffusers(name):
    shapes, context, reference_class, feature_shape = CASES[name]
    image_proj = trained_like(shapes)
    checkpoint = checkpoint_of(AdapterFile(image_proj, trained_like(layer_shapes((8,), context))))
    adapter = load_adapter(checkpoint, identify(checkpoint))
    features = torch.randn(2, *feature_shape, generator=torch.Generator().manual_seed(6))
    module = reference(image_proj)
    ours, theirs = adapter.image_proj(features), module(features)
    assert isinstance(module, reference_class)
    assert ours.shape == theirs.shape == (2, *theirs.shape[1:])
    assert theirs.abs().mean() > 0.1
    assert (ours - theirs).abs().max() <= TOLERANCE * max(1, theirs.abs().max().item())


@pytest.fixture(scope="module", params=[768, 2048])
def face_plus(request) -> tuple[int, Tensors]:
    """Width of the text context, and FaceID Plus' projection into it: of 200 million weights at most, so made once."""
    return request.param, trained_like(face_plus_shapes(request.param, 1280))


@pytest.mark.parametrize(("version", "structure"), [("v1", 1.0), ("v2", 1.0), ("v2", 0.4)])
def test_face_id_plus_equals_diffusers(face_plus, version, structure):
    context, image_proj = face_plus
    checkpoint = checkpoint_of(AdapterFile(image_proj, trained_like(layer_shapes((8,), context))))
    adapter = load_adapter(checkpoint, identify(checkpoint))
    face, hidden = torch.randn(2, 512), torch.randn(2, 257, 1280)
    module = reference(image_proj)
    module.clip_embeds, module.shortcut, module.shortcut_scale = hidden.unsqueeze(0), version == "v2", structure
    shares = torch.tensor(FaceSettings(FaceVersion(version), structure).shares)
    ours, theirs = adapter.image_proj(face, hidden, shares), module(face)
    assert isinstance(module, IPAdapterFaceIDPlusImageProjection)
    assert ours.shape == theirs.shape == (2, 4, context)
    assert (ours - theirs).abs().max() <= 2 * TOLERANCE * max(1, theirs.abs().max().item())


def test_several_images_become_one_sequence_image_by_image():
    shapes, context, _, feature_shape = CASES["sd15 base"]
    checkpoint = checkpoint_of(AdapterFile(trained_like(shapes), trained_like(layer_shapes((8,), context))))
    adapter = load_adapter(checkpoint, identify(checkpoint))
    features = torch.randn(3, *feature_shape)
    each = [adapter.tokens(features[i : i + 1]) for i in range(3)]
    assert torch.allclose(adapter.tokens(features), torch.cat(each, dim=1), atol=1e-5)


def test_no_image_is_not_no_tokens():
    """A zero embedding through the projection is LayerNorm(bias), which CFG needs."""
    shapes, context, _, _ = CASES["sd15 base"]
    checkpoint = checkpoint_of(AdapterFile(trained_like(shapes), trained_like(layer_shapes((8,), context))))
    tokens = load_adapter(checkpoint, identify(checkpoint)).tokens(torch.zeros(1, 1024))
    assert tokens.abs().mean() > 0.1


def test_the_size_of_instant_character_is_what_the_pages_say():
    """Its file, and K' and V' of one prompt, in half precision."""
    file = KINDS["InstantCharacter"].tensors(on_meta)
    numbers = sum(tensor.numel() for group in (file.image_proj, file.ip_adapter) for tensor in group.values())
    spec = identify(checkpoint_of(file))
    assert round(2 * numbers / 1e9, 1) == 5.6
    assert round(2 * 2 * sum(spec.channels) * spec.projection.tokens / 1e9, 2) == 0.72


def test_what_instant_character_reads_is_as_long_at_every_noise_level():
    file = random_adapter("InstantCharacter", (128,), 32)
    adapter = load_adapter(checkpoint_of(file), identify(checkpoint_of(file)))
    states = torch.randn(2, 8 * 4, 128)
    (settled,) = adapter.settle((states,))
    assert settled.shape == (2, 2 * 4, 128) and adapter.settle(()) == ()
    tokens = [adapter.tokens(settled, *adapter.time(sigma, settled)) for sigma in (0.9, 0.1)]
    assert tokens[0].shape == tokens[1].shape == (1, 2 * 8, 32) and (tokens[0] - tokens[1]).abs().max() > 1e-3
