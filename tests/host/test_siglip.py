"""SigLIP towers with their pooling head, small and random, against transformers and the host's own loading."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from pack.ipadapter.adapters.features import features_for
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.encoders.published import SIGLIP
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.encoders.encoder import encode_image_prompt
from pack.ipadapter.host.encoders.siglip import SigLIPVision, load_siglip_file
from pack.ipadapter.host.library.finding import listed_file, load_encoder
from pack.ipadapter.images.pixels import Fit, PixelFormat, prepare_pixels
from pack.ipadapter.prompts.prompt import ImageFeatures
from safetensors.torch import save_file
from torch import Tensor
from transformers import SiglipVisionConfig, SiglipVisionModel

from tests.adapters import random_adapter
from tests.host.test_encoder import encode
from tests.plain.public import checkpoint_of
from tests.refusals import file_refusal
from tools.standins.models import siglip
from tools.standins.noise import Noise

WIDTH, SIZE, PATCHES = 768, 64, 16  # the narrowest there is: the number of heads goes by the width
TOLERANCE = 2e-5  # of vectors up to about 5


@cache
def twin() -> SiglipVisionModel:
    """In transformers, with weights that half precision has exactly."""
    config = SiglipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=12,
        image_size=SIZE,
        patch_size=16,
    )
    model = SiglipVisionModel(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(6)
    for key, parameter in model.named_parameters():
        scale = 1.0 if "norm" in key and key.endswith("weight") else 0.0
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_((noise * (0.3 if parameter.ndim < 2 else 0.04) + scale).half())
    return model


def tensors() -> dict[str, Tensor]:
    """As files have them, whatever this version of transformers puts before the names."""
    state = {key.removeprefix("vision_model."): tensor.half() for key, tensor in twin().state_dict().items()}
    return {f"vision_model.{key}": tensor.clone() for key, tensor in state.items()}


TEXT = {"logit_scale": torch.ones(1), "text_model.embeddings.token_embedding.weight": torch.zeros(32000, 1)}


def saved(folder: Path, state: dict[str, Tensor] | None = None) -> Path:
    """A file of both towers, as google's are, or of anything else."""
    path = folder / "siglip.safetensors"
    save_file({**tensors(), **TEXT} if state is None else state, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("clip_vision"))


@pytest.fixture(scope="module")
def encoder(file) -> SigLIPVision:
    return load_siglip_file(file, file.name)


def picture(count: int = 2) -> Tensor:
    return torch.rand(count, 50, 90, 3, generator=torch.Generator().manual_seed(2))


def far(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


def close_to(features: ImageFeatures, pixels: Tensor) -> bool:
    """Whether features are transformers' of these pixels."""
    theirs = twin()(pixels, output_hidden_states=True)
    assert theirs.pooler_output.abs().max() > 0.5
    embeds, hidden = (
        far(features.image_embeds, theirs.pooler_output),
        far(features.penultimate, theirs.hidden_states[-2]),
    )
    return max(embeds, hidden) <= TOLERANCE


def test_the_pooled_vector_and_the_hidden_states_equal_transformers(encoder):
    prompt = encode_image_prompt(encoder, picture(3), Fit.STRETCH, negative_image=picture(1))
    form = PixelFormat(SIZE, (0.5,) * 3, (0.5,) * 3)
    assert prompt.parts[0].positive.image_embeds.shape == (3, WIDTH)
    assert prompt.parts[0].positive.penultimate.shape == (3, PATCHES, WIDTH)
    assert close_to(prompt.parts[0].positive, prepare_pixels(picture(3), None, Fit.STRETCH, form))
    assert close_to(prompt.parts[0].negative, prepare_pixels(picture(1), None, Fit.STRETCH, form))
    assert close_to(prompt.zero_pixels, torch.zeros(1, 3, SIZE, SIZE))
    assert not prompt.nothing.image_embeds.any() and prompt.nothing.image_embeds.shape == (1, WIDTH)
    assert prompt.encoder == "SigLIP base/16-64 (64 px, 768-wide embedding)"


def test_the_hosts_own_node_gives_the_pooled_vector_beside_what_it_gives_without(encoder):
    from nodes import CLIPVisionEncode

    (out,) = CLIPVisionEncode().encode(encoder, picture(), "none")
    ours = encode_image_prompt(encoder, picture(), Fit.STRETCH).parts[0].positive
    assert far(out["image_embeds"], ours.image_embeds) == 0
    assert far(out["penultimate_hidden_states"], ours.penultimate) == 0
    assert out["last_hidden_state"].shape == (2, PATCHES, WIDTH) and out["all_hidden_states"].shape[1] == 3


def spec_of(width: int):
    return identify(checkpoint_of(random_adapter("base", (8,), 32, embed=width)))


def test_a_siglip_without_its_head_is_refused_by_an_adapter_that_reads_it_naming_the_loader():
    prompt = encode(picture(), name="SigLIP")
    with pytest.raises(IPAdapterError, match=r"2 × 16 × 64 numbers: encode with SigLIP .* from Load SigLIP Vision\."):
        features_for(spec_of(1152), prompt, prompt.parts[0])


def test_an_adapter_as_wide_reads_it(encoder):
    prompt = encode_image_prompt(encoder, picture(1), Fit.STRETCH)
    (read,), (nothing,) = features_for(spec_of(WIDTH), prompt, prompt.parts[0])
    assert read is prompt.parts[0].positive.image_embeds and not nothing.any()


def test_the_stand_in_is_as_the_public_file_but_for_its_depth(tmp_path):
    path = saved(tmp_path, siglip(Noise.seeded(1)))
    found = load_siglip_file(path, path.name)
    prompt = encode_image_prompt(found, picture(1), Fit.STRETCH)
    assert found.image_size == 384 and path.stat().st_size < 50e6
    assert prompt.parts[0].positive.image_embeds.shape == (1, 1152)
    assert prompt.parts[0].positive.penultimate.shape == (1, 729, 1152)
    assert prompt.encoder == "SigLIP so400m/14-384 (384 px, 1152-wide embedding)"


def test_find_opens_it_whole(file):
    found = load_encoder(listed_file(file.name, file), SIGLIP)
    assert isinstance(found, SigLIPVision)


def test_the_file_may_be_replaced_once_it_is_open(tmp_path):
    path = saved(tmp_path)
    found = load_siglip_file(path, path.name)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert close_to(encode_image_prompt(found, picture(1), Fit.STRETCH).zero_pixels, torch.zeros(1, 3, SIZE, SIZE))


def without(part: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors().items() if part not in key}


PATCH = "vision_model.embeddings.patch_embedding.weight"
BAD = {
    "headless": (without(".head."), "has no pooling head"),
    "CLIP": ({"vision_model.embeddings.class_embedding": torch.ones(8)}, "is a CLIP image encoder: use Load CLIP Vis"),
    "open_clip": ({"visual.trunk.attn_pool.latent": torch.ones(8)}, "open_clip's layout: use Load OpenCLIP Vision"),
    "NaFlex": ({**tensors(), PATCH: torch.ones(768, 768)}, r"any size \(NaFlex\): use Load CLIP Vision"),
    "an adapter": ({"image_proj.proj.weight": torch.ones(8, 8)}, "has no SigLIP image tower"),
    "another width": ({**tensors(), PATCH: torch.ones(40, 3, 16, 16)}, "40 wide, where those of 768, 1024, 1152"),
    "no positions": (without("position_embedding"), "what tells the sizes of its image tower is missing"),
    "no layers": (without("layers"), "what tells the sizes of its image tower is missing"),
    "a layer cut out": (without("layers.1."), "is damaged: vision_model.encoder.layers.2"),
    "no query": (without("head.probe"), "visual_projection.probe is missing, where a SigLIP base/16-64 has"),
    "one number": ({**tensors(), "vision_model.head.attention.in_proj_bias": torch.ones(())}, "is damaged"),
    "a cut head": ({**tensors(), "vision_model.head.attention.in_proj_bias": torch.ones(768)}, "is damaged"),
}


@pytest.mark.parametrize("what", BAD)
def test_any_other_file_is_refused_in_a_sentence(what, tmp_path):
    state, words = BAD[what]
    path = saved(tmp_path, state)
    text = file_refusal(path.name, load_siglip_file, path, path.name)
    assert re.search(words, text), text
