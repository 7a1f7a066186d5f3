"""Noise images: what each kind does, and that nobody else's random numbers change."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from pack.ipadapter.images.noise import Noise, make_noise
from torch import Tensor

from tests.refusals import refusal

EVERY_KIND = pytest.mark.parametrize("kind", Noise)
SEED, SIZE = 5, 32


def picture(height: int = 40, width: int = 60, images: int = 1, channels: int = 3) -> Tensor:
    return torch.rand(images, height, width, channels, generator=torch.Generator().manual_seed(2))


def noise(kind: Noise, strength: float = 1.0, blur: float = 0.0, seed: int = SEED, image: Tensor | None = None):
    return make_noise(image, kind, strength, blur, seed, SIZE)


@EVERY_KIND
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("blur", [0.0, 0.5, 32.0])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(40, 60), (8, 8), (9, 200)])
def test_every_kind_makes_a_picture_of_the_pictures_size(kind, strength, blur, channels, size):
    made = noise(kind, strength, blur, image=picture(*size, 2, channels))
    assert made.shape == (2, *size, 3)
    assert made.isfinite().all() and made.min() >= 0 and made.max() <= 1


@EVERY_KIND
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_same_seed_makes_the_same_picture_and_another_another(kind, strength):
    one, same, other = (noise(kind, strength, seed=seed, image=picture()) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert torch.equal(one, other) == (strength == 0)


@EVERY_KIND
def test_the_global_random_states_stay_as_they_are(kind):
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    noise(kind, blur=1.0, image=picture())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]


@EVERY_KIND
def test_the_global_seed_does_not_matter(kind):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = noise(kind, image=picture())
        torch.manual_seed(2)
        assert torch.equal(noise(kind, image=picture()), first)


@EVERY_KIND
@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_every_seed_of_the_host_will_do(kind, seed):
    assert noise(kind, seed=seed, image=picture()).isfinite().all()


@EVERY_KIND
def test_strength_0_is_the_picture_itself(kind):
    image = picture()
    assert torch.allclose(noise(kind, 0.0, image=image), image, atol=1e-5)


@EVERY_KIND
def test_the_pictures_of_a_batch_differ(kind):
    twice = picture().repeat(2, 1, 1, 1)
    one, other = noise(kind, 0.7, image=twice)
    assert not torch.equal(one, other)


@EVERY_KIND
def test_the_picture_given_stays_as_it_was(kind):
    image = picture()
    noise(kind, image=image)
    assert torch.equal(image, picture())


def test_fade_mixes_picture_and_noise():
    full = noise(Noise.FADE, 1.0, image=picture())
    assert torch.allclose(noise(Noise.FADE, 0.25, image=picture()), 0.75 * picture() + 0.25 * full, atol=1e-6)
    assert full.mean() == pytest.approx(0.5, abs=0.02) and full.std() == pytest.approx(12**-0.5, abs=0.02)


def test_dissolve_replaces_a_share_of_the_pixels_whole():
    image = picture(100, 100)
    changed = noise(Noise.DISSOLVE, 0.3, image=image) != image
    assert torch.equal(changed.any(-1), changed.all(-1))
    assert changed.any(-1).float().mean() == pytest.approx(0.3, abs=0.02)
    assert (noise(Noise.DISSOLVE, 1.0, image=image) != image).all()


def test_gaussian_noise_has_half_the_strength_as_its_deviation():
    made = make_noise(None, Noise.GAUSSIAN, 0.2, 0.0, SEED, 128)
    assert made.mean() == pytest.approx(0.5, abs=0.005) and made.std() == pytest.approx(0.1, abs=0.002)


def test_shuffle_keeps_the_pictures_colours_and_moves_them():
    image = torch.zeros(1, 64, 64, 3)
    image[:, :32, :, 0] = 1  # red above black
    made = noise(Noise.SHUFFLE, 1.0, image=image)
    assert not made[..., 1:].any()
    assert made[:, 48:, :, 0].mean() > 0.5 > made[:, :16, :, 0].mean()  # upside down
    assert 0.2 < made[..., 0].mean() < 0.8


def test_shuffle_is_smooth():
    ramp = torch.linspace(0, 1, 64).view(1, 1, 64, 1).expand(1, 64, 64, 3)
    made = noise(Noise.SHUFFLE, 0.5, image=ramp)
    assert made.diff(dim=1).abs().max() < 0.15


def test_without_a_picture_there_is_a_square_of_the_size():
    assert make_noise(None, Noise.FADE, 1.0, 0.0, SEED, 48).shape == (1, 48, 48, 3)
    assert (make_noise(None, Noise.FADE, 0.0, 0.0, SEED, 48) == 0.5).all()


def test_blur_is_a_gaussian_of_that_deviation():
    image = torch.zeros(1, 41, 41, 3)
    image[0, 20, 20] = 1
    made = make_noise(image, Noise.FADE, 0.0, 2.0, SEED, SIZE)[0, ..., 0].double()
    steps = torch.arange(41.0, dtype=torch.float64) - 20
    assert made.sum() == pytest.approx(1, abs=1e-5)
    assert (made.sum(0) * steps**2).sum().sqrt() == pytest.approx(2.0, abs=0.05)
    assert torch.allclose(made, made.T, atol=1e-7)


def test_blur_makes_noise_weaker():
    deviations = [noise(Noise.FADE, blur=blur).std() for blur in (0.0, 1.0, 4.0)]
    assert deviations == sorted(deviations, reverse=True)


def test_a_shuffle_without_a_picture_is_refused():
    assert "there is no image" in refusal(noise, Noise.SHUFFLE, image=None)


@EVERY_KIND
def test_what_is_no_picture_is_refused(kind):
    assert "holds NaN" in refusal(noise, kind, image=torch.full((1, 40, 40, 3), float("nan")))
    assert "says too little" in refusal(noise, kind, image=picture(1, 1))
    assert "image has shape" in refusal(noise, kind, image=picture(channels=2))
    assert "image has shape" in refusal(noise, kind, image=picture(images=0))
