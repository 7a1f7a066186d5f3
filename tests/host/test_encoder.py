"""Pictures to features through real CLIP_VISION models of the host, small and random."""

from __future__ import annotations

import gc
import json
import tempfile
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.clip_vision
import comfy.utils
import pytest
import torch
from pack.ipadapter.adapters.features import features_for
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.encoders import encoder as making
from pack.ipadapter.host.encoders.encoder import (
    encode_black_picture,
    encode_image_prompt,
    encode_zero_pixels,
    pixel_format,
)
from pack.ipadapter.images.pixels import Fit, prepare_pixels
from pack.ipadapter.prompts.prompt import ImagePrompt
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.adapters import random_adapter
from tests.comfyui import needs
from tests.plain.public import checkpoint_of
from tests.refusals import refusal

SIZE, HIDDEN, EMBED, PATCHES = 56, 64, 48, 16

CLIP: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": HIDDEN,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "image_size": SIZE,
    "patch_size": 14,
    "num_channels": 3,
    "projection_dim": EMBED,
}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SIGLIP = {key: value for key, value in CLIP.items() if key != "projection_dim"} | HALF
SIGLIP |= {"model_type": "siglip_vision_model", "hidden_act": "gelu_pytorch_tanh"}
SIGLIP_FLEXIBLE = SIGLIP | {"model_type": "siglip2_vision_model", "image_size": -1, "patch_size": 8, "num_patches": 49}
DINO2 = {
    "model_type": "dinov2",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "layer_norm_eps": 1e-6,
    "use_swiglu_ffn": False,
    "image_size": 518,  # every public one's, and the only size that every version of the host takes
    "patch_size": 14,
}
DINO3 = {
    "model_type": "dinov3",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_register_tokens": 4,
    "intermediate_size": 128,
    "layer_norm_eps": 1e-5,
    "num_channels": 3,
    "image_size": 64,
    "patch_size": 16,
    "rope_theta": 100.0,
    "use_gated_mlp": True,
    "gated_mlp_act": "silu",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
ALL = {"CLIP": CLIP, "SigLIP": SIGLIP, "SigLIP2": SIGLIP_FLEXIBLE, "DINOv2": DINO2, "DINOv3": DINO3}
# Those of this host: every one that tests name outright is of every host but DINOv3.
CONFIGS = {name: one for name, one in ALL.items() if one["model_type"] in comfy.clip_vision.IMAGE_ENCODERS}


def encoder(name: str = "CLIP") -> comfy.clip_vision.ClipVisionModel:
    """A model made once."""
    return random_encoder(name)


def vision_model(config: dict[str, Any]) -> comfy.clip_vision.ClipVisionModel:
    """The host's model of a configuration; every version of the host reads it from a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(config))
        return comfy.clip_vision.ClipVisionModel(str(file))


@cache
def random_encoder(name: str) -> comfy.clip_vision.ClipVisionModel:
    """A real encoder with random weights that half precision, in which the host keeps them on a CPU, has exactly."""
    model = vision_model(CONFIGS[name])
    generator = torch.Generator().manual_seed(8)
    for key, parameter in model.model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.1
        scale = ("norm" in key and key.endswith("weight")) or "lambda" in key
        parameter.copy_((noise + scale).half())
    return model


@cache
def transformers_twin() -> CLIPVisionModelWithProjection:
    """The same weights in transformers."""
    known = {key: value for key, value in CLIP.items() if key != "model_type"}
    twin = CLIPVisionModelWithProjection(CLIPVisionConfig(**known)).float().eval()
    twin.load_state_dict({key: tensor.float() for key, tensor in encoder().get_sd().items()})
    return twin


def picture(images: int = 1, height: int = 80, width: int = 60, channels: int = 3, seed: int = 2) -> Tensor:
    return torch.rand(images, height, width, channels, generator=torch.Generator().manual_seed(seed))


def encode(image: Tensor, fit: Fit = Fit.CROP, name: str = "CLIP", **given: Tensor) -> ImagePrompt:
    return encode_image_prompt(encoder(name), image, fit, **given)


@pytest.mark.parametrize("size", [(80, 60), (60, 80), (SIZE, SIZE), (57, 55), (300, 299), (20, 90), (513, 57)])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("fit", "crop"), [(Fit.CROP, True), (Fit.STRETCH, False)])
def test_crop_and_stretch_equal_the_hosts_preprocessing_to_the_bit(fit, crop, channels, size):
    form = pixel_format(encoder())
    image = picture(2, *size, channels)
    if channels == 4:
        image[..., 3] = 1  # the host drops alpha; here what is opaque counts in full
    theirs = comfy.clip_model.clip_preprocess(image, form.size, list(form.mean), list(form.std), crop=crop)
    assert torch.equal(prepare_pixels(image, None, fit, form), theirs)


TOLERANCE = 2e-5  # of hidden states up to about 10: the order of sums differs between the two implementations


@pytest.mark.parametrize("fit", Fit)
def test_features_equal_transformers(fit):
    prompt = encode(picture(3), fit)
    pixels = prepare_pixels(picture(3), None, fit, pixel_format(encoder()))
    theirs = transformers_twin()(pixels, output_hidden_states=True)
    assert prompt.parts[0].positive.image_embeds.shape == (3, EMBED)
    assert prompt.parts[0].positive.penultimate.shape == (3, PATCHES + 1, HIDDEN)
    assert (prompt.parts[0].positive.image_embeds - theirs.image_embeds).abs().max() <= TOLERANCE
    assert (prompt.parts[0].positive.penultimate - theirs.hidden_states[-2]).abs().max() <= TOLERANCE


def test_the_penultimate_states_are_not_the_last():
    theirs = transformers_twin()(
        prepare_pixels(picture(), None, Fit.CROP, pixel_format(encoder())), output_hidden_states=True
    )
    assert (encode(picture()).parts[0].positive.penultimate - theirs.hidden_states[-1]).abs().max() > 0.1


def test_features_equal_the_hosts_own_node():
    theirs = encoder().encode_image(picture(2), crop=True)
    ours = encode(picture(2)).parts[0].positive
    assert torch.equal(ours.image_embeds, theirs["image_embeds"].float())
    assert torch.equal(ours.penultimate, theirs["penultimate_hidden_states"].float())


def test_no_image_is_zero_pixels_and_not_a_black_picture():
    zero = encode(picture()).zero_pixels
    theirs = transformers_twin()(torch.zeros(1, 3, SIZE, SIZE), output_hidden_states=True)
    black = encode(torch.zeros(1, SIZE, SIZE, 3)).parts[0].positive
    assert zero.penultimate.shape == (1, PATCHES + 1, HIDDEN)
    assert (zero.penultimate - theirs.hidden_states[-2]).abs().max() <= TOLERANCE
    assert (zero.penultimate - black.penultimate).abs().max() > 100 * TOLERANCE


def test_a_prompt_holds_what_its_encoder_makes_of_a_black_picture():
    black = encode(torch.zeros(1, 90, 70, 3)).parts[0].positive.image_embeds
    assert black.shape == (1, EMBED) and torch.equal(encode(picture()).black, black)
    assert torch.equal(encode_black_picture(encoder()), black)


def another() -> comfy.clip_vision.ClipVisionModel:
    """The same weights in an encoder of a test's own."""
    model = vision_model(CLIP)
    model.load_sd(encoder().get_sd())
    return model


def counted(model: comfy.clip_vision.ClipVisionModel) -> list[int]:
    """Pictures of every pass through an encoder from here on."""
    seen: list[int] = []
    model.model.register_forward_pre_hook(
        lambda module, given, named: seen.append(len(named["pixel_values"])), with_kwargs=True
    )
    return seen


def test_what_is_no_image_is_encoded_once_an_encoder_and_goes_with_it():
    model = another()
    seen = counted(model)
    one, two = (encode_image_prompt(model, picture(2, seed=seed), Fit.CROP) for seed in (2, 3))
    for prompt in (one, two):
        assert torch.equal(prompt.zero_pixels.penultimate, encode(picture()).zero_pixels.penultimate)
        assert torch.equal(prompt.black, encode(picture()).black)
    assert seen == [2, 2, 1, 1]
    kept = weakref.ref(model.patcher)
    del model, one, two, prompt
    gc.collect()
    assert kept() is None


def test_zero_pixels_are_encoded_anew_with_other_weights():
    model = another()
    before, black = encode_zero_pixels(model).penultimate, encode_black_picture(model)
    key = "vision_model.encoder.layers.0.mlp.fc1.bias"
    model.patcher.add_patches({key: (torch.ones_like(model.get_sd()[key]),)})
    after = encode_zero_pixels(model).penultimate
    assert not torch.allclose(before, after) and not torch.allclose(black, encode_black_picture(model))


def test_kept_features_of_nothing_can_be_learned_from():
    """Made while the host runs a node, used in a training, which takes no tensor of inference."""
    kept = encode_zero_pixels(encoder()).penultimate
    with torch.inference_mode(False), torch.enable_grad():
        weight = torch.ones(HIDDEN, requires_grad=True)
        (kept * weight).sum().backward()
    assert weight.grad is not None


def test_a_batch_is_several_references_each_encoded_by_itself():
    images = picture(3)
    batch = encode(images).parts[0].positive
    for i in range(3):
        assert torch.allclose(
            batch.penultimate[i], encode(images[i : i + 1]).parts[0].positive.penultimate[0], atol=TOLERANCE
        )


def test_a_negative_image_is_encoded_like_an_image():
    other = picture(2, 70, 90, seed=3)
    prompt = encode(picture(), negative_image=other)
    assert torch.equal(prompt.parts[0].negative.penultimate, encode(other).parts[0].positive.penultimate)
    assert torch.equal(prompt.parts[0].negative.image_embeds, encode(other).parts[0].positive.image_embeds)
    assert encode(picture()).parts[0].negative is None


def test_a_mask_chooses_what_counts():
    mask = torch.zeros(1, 80, 60)
    mask[:, 40:] = 1
    changed = picture()
    changed[:, :30] = 0
    bare, masked = encode(picture()).parts[0].positive, encode(picture(), mask=mask).parts[0].positive
    assert not torch.allclose(masked.image_embeds, bare.image_embeds, atol=1e-3)
    assert torch.allclose(
        masked.image_embeds, encode(changed, mask=mask).parts[0].positive.image_embeds, atol=TOLERANCE
    )


def test_many_images_are_encoded_in_chunks_with_progress():
    model = another()
    encode_zero_pixels(model), encode_black_picture(model)
    seen: list[tuple[int, int]] = []
    sizes = counted(model)
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *rest, **more: seen.append((value, total)))
    try:
        prompt = encode_image_prompt(model, picture(20), Fit.CROP)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert prompt.parts[0].positive.image_embeds.shape == (20, EMBED)
    assert sum(sizes) == 20 and max(sizes) <= 8
    assert [value for value, _ in seen] == sorted(value for value, _ in seen)
    assert seen[0] == (8, 20) and seen[-1] == (20, 20)  # the host drops updates that follow within a moment


def test_chunks_do_not_change_the_features():
    images = picture(20)
    whole = encode(images).parts[0].positive.penultimate
    assert torch.allclose(whole[17], encode(images[17:18]).parts[0].positive.penultimate[0], atol=TOLERANCE)


def test_an_interrupted_encoding_stops():
    import comfy.model_management

    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        encode(picture(20))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_kind_of_the_hosts_encoders_makes_a_prompt(name):
    prompt = encode(picture(2), name=name, negative_image=picture())
    assert len(prompt.parts[0].positive.image_embeds) == 2
    assert torch.isfinite(prompt.parts[0].positive.image_embeds).all()
    assert CONFIGS[name]["model_type"] in prompt.encoder
    assert f"{pixel_format(encoder(name)).size} px" in prompt.encoder


def read(spec, prompt):
    """What an adapter reads of a prompt of one part."""
    return features_for(spec, prompt, prompt.parts[0])


SMALL_PLUS = {"hidden": HIDDEN, "tokens": 2, "dim": 64, "inner": 64, "depth": 1}
OF_NO_IMAGE = {"base": ({"embed": EMBED}, 0), "plus": (SMALL_PLUS, 1), "XLabs FLUX": ({"embed": EMBED}, 1)}


@pytest.mark.parametrize("family", OF_NO_IMAGE)
def test_of_no_image_only_what_the_adapter_reads_is_encoded(family):
    """Each is a pass of the whole encoder, which takes a CPU seconds."""
    sizes, passes = OF_NO_IMAGE[family]
    spec, model = identify(checkpoint_of(random_adapter(family, (8,), 32, **sizes))), another()
    seen = counted(model)
    prompt = encode_image_prompt(model, picture(2), Fit.CROP)
    for _ in range(2):
        read(spec, prompt)
    assert seen == [2, *[1] * passes]


def test_on_a_card_it_is_encoded_at_once_and_no_prompt_holds_the_encoder(monkeypatch):
    monkeypatch.setattr(making, "takes_seconds", lambda device: False)
    model = another()
    seen, kept = counted(model), weakref.ref(model.patcher)
    prompt = encode_image_prompt(model, picture(2), Fit.CROP)
    assert seen == [2, 1, 1]
    del model
    gc.collect()
    assert kept() is None and torch.equal(prompt.black, encode(picture()).black)


@pytest.mark.parametrize(("kind", "seconds"), [("cpu", True), ("cuda", False), ("mps", False)])
def test_a_pass_takes_seconds_on_a_cpu_alone(kind, seconds):
    assert making.takes_seconds(torch.device(kind)) is seconds


@pytest.mark.parametrize("name", ["SigLIP", "SigLIP2"])
def test_an_encoder_without_one_embedding_is_refused_by_an_adapter_that_reads_it(name):
    """The host leaves SigLIP's pooling out: what it calls the embedding is a sequence."""
    spec = identify(checkpoint_of(random_adapter("base", (8,), 32, embed=HIDDEN)))
    with pytest.raises(IPAdapterError, match="reads image embedding 64 wide"):
        read(spec, encode(picture(), name=name))


@needs("comfy.image_encoders.dino3")
def test_an_encoder_without_penultimate_states_is_refused_by_an_adapter_that_reads_them():
    spec = identify(checkpoint_of(random_adapter("plus", (8,), 32, hidden=HIDDEN, tokens=2, dim=64, inner=64, depth=1)))
    with pytest.raises(IPAdapterError, match="which gives none"):
        read(spec, encode(picture(), name="DINOv3"))


@pytest.mark.parametrize("family", ["base", "plus"])
def test_an_encoder_of_another_width_is_refused_with_both_sides(family):
    sizes = {"base": {"embed": 1024}, "plus": {"hidden": 1280, "tokens": 2, "dim": 64, "inner": 64, "depth": 1}}[family]
    spec = identify(checkpoint_of(random_adapter(family, (8,), 32, **sizes)))
    text = refusal(read, spec, encode(picture()))
    assert str(next(iter(sizes.values()))) in text and "ViT-H" in text and "clip_vision_model (56 px" in text


@pytest.mark.parametrize(
    "bad", [picture(0), picture(1, 1, 1), picture(channels=2), torch.full((1, 60, 60, 3), float("nan"))]
)
def test_a_bad_picture_is_refused_before_anything_is_encoded(bad):
    ran: list[object] = []
    hook = encoder().model.register_forward_pre_hook(lambda *args: ran.append(args))
    try:
        for given in ({"image": bad}, {"image": picture(), "negative_image": bad}):
            with pytest.raises(IPAdapterError):
                encode(**given)
    finally:
        hook.remove()
    assert not ran


def test_an_encoder_that_makes_no_numbers_is_refused():
    damaged = random_encoder.__wrapped__("CLIP")
    damaged.model.vision_model.post_layernorm.weight[0] = float("nan")
    with pytest.raises(IPAdapterError, match="the image encoder clip_vision_model .* made NaN"):
        encode_image_prompt(damaged, picture(), Fit.CROP)


def test_encoding_leaves_the_picture_as_it_was():
    image = picture(channels=4)
    before = image.clone()
    encode(image)
    assert torch.equal(image, before)
