"""The old pack's first version, run: its encoder, and noise in the place of no image."""

from __future__ import annotations

import comfy.utils
import pytest
import torch
from pack.ipadapter.host.encoders.encoder import encode_references
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.images.noise import Noise, make_noise
from pack.ipadapter.images.pixels import Fit
from pack.ipadapter.prompts.reading import Reading
from pack.ipadapter.strength.strength import Strength
from pack.nodes.legacy.apply import LegacyIPAdapter, LegacyIPAdapterTiled
from pack.nodes.legacy.embeds import LegacyIPAdapterEmbeds
from pack.nodes.legacy.first import LegacyIPAdapterFirstEncoder

from tests.host.test_encoder import encoder
from tests.host.test_legacy import WINDOW, images, made_adapter, prompt_of, same
from tests.small import SD15, make_pair


@pytest.fixture
def base():
    return make_pair(SD15).host


@pytest.fixture
def clip_vision():
    return encoder()


@pytest.fixture(params=["base", "plus"])
def adapter(request):
    return made_adapter(request.param)


def noisy(image, noise: float):
    return make_noise(image, Noise.SHUFFLE, noise, 0.0, 0, 0)


def encoded(clip_vision, *given, noise: float = 0.0, **more):
    return LegacyIPAdapterFirstEncoder.execute(clip_vision, given[0], noise, **more).args[0]


def test_features_are_multiplied_by_the_square_of_each_pictures_weight(clip_vision):
    one, other = images(2), images(1, seed=6)
    prompt = encoded(clip_vision, one, weight_1=0.5, image_3=other, weight_3=0.8)
    plain = encode_references(clip_vision, torch.cat([one, other]), Reading(fit=Fit.CROP)).parts[0].positive
    (part,) = prompt.parts
    factors = torch.tensor([0.25, 0.25, 0.64])
    assert torch.allclose(part.positive.image_embeds, plain.image_embeds * factors[:, None])
    assert torch.allclose(part.positive.penultimate, plain.penultimate * factors[:, None, None])
    assert part.negative is None


def test_other_pictures_are_cropped_to_the_shape_of_the_first(clip_vision):
    one, wide = images(1), images(1, seed=6, size=(64, 128))
    cropped = comfy.utils.common_upscale(wide.movedim(-1, 1), 64, 64, "bilinear", "center").movedim(1, -1)
    prompt = encoded(clip_vision, one, weight_1=1.0, image_2=wide)
    expected = encoded(clip_vision, one, weight_1=1.0, image_2=cropped)
    assert torch.equal(prompt.parts[0].positive.image_embeds, expected.parts[0].positive.image_embeds)


def test_an_encoded_picture_is_applied_with_its_noise(base, adapter, clip_vision):
    prompt = encoded(clip_vision, images(), noise=0.3, weight_1=1.0)
    model = LegacyIPAdapterEmbeds.execute(base, adapter, prompt, 0.7, "linear", **WINDOW).args[0]
    expected = prompt_of(clip_vision, images(), noisy(images(), 0.3))
    assert same(model, apply_image_prompt(base, adapter, expected, Strength(0.7)))


def test_noise_is_a_negative_image_where_none_is_connected(base, adapter, clip_vision):
    run = {"clip_vision": clip_vision, **WINDOW}
    model = LegacyIPAdapter.execute(base, adapter, images(), 0.7, "linear", **run, noise=0.3).args[0]
    expected = prompt_of(clip_vision, images(), noisy(images(), 0.3))
    assert same(model, apply_image_prompt(base, adapter, expected, Strength(0.7)))
    away = images(1, seed=7)
    both = LegacyIPAdapter.execute(base, adapter, images(), 0.7, "linear", **run, noise=0.3, image_negative=away)
    alone = LegacyIPAdapter.execute(base, adapter, images(), 0.7, "linear", **run, image_negative=away)
    assert same(both.args[0], alone.args[0]) and not same(both.args[0], model)


def test_each_tile_has_noise_of_its_own(base, adapter, clip_vision):
    run = {"sharpening": 0.0, "clip_vision": clip_vision, **WINDOW}
    plain, noised = (
        LegacyIPAdapterTiled.execute(base, adapter, images(), 0.7, "linear", **run, noise=noise).args[0]
        for noise in (0.0, 0.3)
    )
    assert not same(plain, noised)
