"""Pictures of every odd kind on their way to the image encoder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pack.ipadapter.images.pixels import Fit, PixelFormat, prepare_pixels, zero_pixels
from torch import Tensor

from tests.refusals import refusal

FORM = PixelFormat(32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
EVERY_FIT = pytest.mark.parametrize("fit", Fit)


def picture(height: int = 40, width: int = 60, channels: int = 3, images: int = 1) -> Tensor:
    return torch.rand(images, height, width, channels, generator=torch.Generator().manual_seed(2))


def normalised(colour: tuple[float, float, float]) -> Tensor:
    """One colour as the encoder reads it, (3, 1, 1)."""
    rounded = torch.tensor(colour).mul(255).round() / 255
    return ((rounded - torch.tensor(FORM.mean)) / torch.tensor(FORM.std)).view(3, 1, 1)


def plain(height: int, width: int, colour: tuple[float, ...]) -> Tensor:
    return torch.tensor(colour).expand(1, height, width, len(colour)).clone()


RED = (0.8, 0.2, 0.0)


@EVERY_FIT
@pytest.mark.parametrize("size", [(40, 60), (60, 40), (32, 32), (33, 31), (8, 8), (8, 512), (512, 8), (500, 700)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_picture_becomes_the_encoders_square(channels, size, fit):
    pixels = prepare_pixels(picture(*size, channels, images=2), None, fit, FORM)
    assert pixels.shape == (2, 3, 32, 32)
    assert torch.isfinite(pixels).all() and pixels.dtype == torch.float32


@EVERY_FIT
def test_a_plain_colour_is_normalised_by_channel(fit):
    pixels = prepare_pixels(plain(64, 64, RED), None, fit, FORM)
    assert torch.allclose(pixels[0], normalised(RED).expand(3, 32, 32), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 80), (80, 40)])
def test_pad_keeps_everything_with_zeros_around(height, width):
    pixels = prepare_pixels(plain(height, width, RED), None, Fit.PAD, FORM)[0]
    pixels = pixels if width > height else pixels.transpose(1, 2)
    assert torch.allclose(pixels[:, 8:24], normalised(RED).expand(3, 16, 32), atol=1e-6)
    assert not pixels[:, :8].any() and not pixels[:, 24:].any()


def test_pad_shows_the_edges_that_crop_loses():
    image = plain(32, 96, (0.0, 0.0, 0.0))
    image[:, :, :20] = torch.tensor(RED)
    lost, kept = (prepare_pixels(image, None, fit, FORM) for fit in (Fit.CROP, Fit.PAD))
    black = normalised((0.0, 0.0, 0.0))
    assert torch.allclose(lost[0], black.expand(3, 32, 32), atol=1e-6)
    assert torch.allclose(kept[0, :, 16, 2], normalised(RED)[:, 0, 0], atol=0.05)


@EVERY_FIT
def test_grey_is_read_as_three_equal_channels(fit):
    grey = picture(channels=1)
    assert torch.equal(
        prepare_pixels(grey, None, fit, FORM), prepare_pixels(grey.expand(-1, -1, -1, 3), None, fit, FORM)
    )


@EVERY_FIT
def test_alpha_is_a_mask(fit):
    image, alpha = picture(), picture(channels=1)[..., 0].round()
    rgba = torch.cat([image, alpha.unsqueeze(-1)], dim=-1)
    assert torch.equal(prepare_pixels(rgba, None, fit, FORM), prepare_pixels(image, alpha, fit, FORM))


@EVERY_FIT
def test_opaque_alpha_and_a_white_mask_change_nothing(fit):
    image = picture()
    rgba = torch.cat([image, torch.ones(1, 40, 60, 1)], dim=-1)
    bare = prepare_pixels(image, None, fit, FORM)
    assert torch.equal(prepare_pixels(rgba, None, fit, FORM), bare)
    assert torch.equal(prepare_pixels(image, torch.ones(1, 40, 60), fit, FORM), bare)


def test_alpha_and_mask_count_together():
    image = plain(32, 32, (*RED, 1.0))
    image[:, :, 16:, 3] = 0
    mask = torch.zeros(1, 32, 32)
    mask[:, :16] = 1
    pixels = prepare_pixels(image, mask, Fit.CROP, FORM)[0]
    assert torch.allclose(pixels[:, :16, :16], normalised(RED).expand(3, 16, 16), atol=1e-6)
    assert not pixels[:, 16:].any() and not pixels[:, :, 16:].any()


def test_what_is_masked_out_is_nothing_and_not_black():
    mask = torch.zeros(1, 32, 32)
    mask[:, :, 16:] = 1
    pixels = prepare_pixels(picture(32, 32), mask, Fit.CROP, FORM)
    assert not pixels[..., :16].any()
    assert torch.equal(pixels[..., 16:], prepare_pixels(picture(32, 32), None, Fit.CROP, FORM)[..., 16:])


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (20, 90)])
def test_a_mask_of_another_size_is_brought_to_the_pictures(size):
    mask = torch.zeros(1, *size)
    mask[:, :, : size[1] // 2] = 1
    pixels = prepare_pixels(plain(64, 64, RED), mask, Fit.CROP, FORM)[0]
    assert torch.allclose(pixels[..., :12], normalised(RED).expand(3, 32, 12), atol=1e-5)
    assert not pixels[..., 20:].any()


def test_one_mask_serves_every_picture_and_a_batch_each_its_own():
    image, masks = picture(32, 32, images=2), torch.stack([torch.eye(32), torch.eye(32).flip(0)])
    shared = prepare_pixels(image, masks[:1], Fit.CROP, FORM)
    own = prepare_pixels(image, masks, Fit.CROP, FORM)
    assert torch.equal(own[0], shared[0]) and not torch.equal(own[1], shared[1])
    assert torch.equal(own[1:], prepare_pixels(image[1:], masks[1:], Fit.CROP, FORM))


def hole(value: float) -> Tensor:
    image = picture()
    image[0, 3, 3, 1] = value
    return image


BAD_PICTURES: dict[str, tuple[Tensor, str]] = {
    "one pixel": (picture(1, 1), "1×1"),
    "one row": (picture(1, 500), "500×1"),
    "too narrow": (picture(7, 400), "400×7"),
    "extreme ratio": (picture(8, 513), "513×8"),
    "two channels": (picture(channels=2), "[1, 40, 60, 2]"),
    "five channels": (picture(channels=5), "[1, 40, 60, 5]"),
    "no channels": (picture(channels=0), "[1, 40, 60, 0]"),
    "no pictures": (picture(images=0), "[0, 40, 60, 3]"),
    "no pixels": (picture(height=0), "60×0"),
    "three dimensions": (picture()[0], "[40, 60, 3]"),
    "five dimensions": (picture()[None], "[1, 1, 40, 60, 3]"),
    "a channel first": (torch.rand(1, 3, 64, 64), "[1, 3, 64, 64]"),
    "NaN": (hole(float("nan")), "NaN"),
    "infinity": (hole(float("inf")), "infinite"),
}


def refused(image: Tensor, mask: Tensor | None = None, fit: Fit = Fit.CROP) -> str:
    text = refusal(prepare_pixels, image, mask, fit, FORM)
    assert text.startswith(("image ", "mask "))
    return text


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_what_is_no_picture_is_refused_in_a_sentence(name):
    image, expected = BAD_PICTURES[name]
    text = refused(image)
    assert text.startswith("image ") and expected in text


BAD_MASKS: dict[str, tuple[Tensor, str]] = {
    "another batch": (torch.ones(3, 40, 60), "[3, 40, 60] for 2 image(s)"),
    "no masks": (torch.ones(0, 40, 60), "[0, 40, 60]"),
    "two dimensions": (torch.ones(40, 60), "[40, 60]"),
    "four dimensions": (torch.ones(1, 1, 40, 60), "[1, 1, 40, 60]"),
    "black": (torch.zeros(1, 40, 60), "empty"),
    "no pixels": (torch.ones(1, 0, 60), "empty"),
    "negative": (-torch.ones(1, 40, 60), "empty"),
    "NaN": (torch.full((1, 40, 60), float("nan")), "empty"),
    "some NaN": (torch.tensor([1.0, float("nan")]).expand(1, 40, 2), "NaN"),
    "some infinity": (torch.tensor([1.0, float("inf")]).expand(1, 40, 2), "infinite"),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_what_is_no_mask_is_refused_in_a_sentence(name):
    mask, expected = BAD_MASKS[name]
    text = refused(picture(images=2), mask)
    assert text.startswith("mask ") and expected in text


def test_a_transparent_picture_is_refused():
    assert "transparency" in refused(plain(40, 40, (*RED, 0.0)))


def test_one_transparent_picture_among_others_is_refused():
    image = plain(40, 40, (*RED, 1.0)).repeat(3, 1, 1, 1)
    image[1, ..., 3] = 0
    assert "transparency" in refused(image)


def test_a_mask_that_the_crop_loses_is_refused_and_pad_keeps_it():
    mask = torch.zeros(1, 40, 160)
    mask[:, :, :20] = 1
    assert "pad or stretch" in refused(picture(40, 160), mask)
    assert prepare_pixels(picture(40, 160), mask, Fit.PAD, FORM).any()


@EVERY_FIT
def test_no_picture_is_zeros_after_normalisation(fit):
    zeros = zero_pixels(FORM)
    assert zeros.shape == (1, 3, 32, 32) and not zeros.any()
    assert prepare_pixels(plain(40, 40, (0.0, 0.0, 0.0)), None, fit, FORM).abs().min() > 1


PEAKS = """
import resource, sys
import torch
from ipadapter.images.pixels import Fit, PixelFormat, prepare_pixels
image = torch.full((1, 9000, 9000, 3), 0.5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
form = PixelFormat(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
for fit in sys.argv[1:]:
    pixels = prepare_pixels(image, None, Fit(fit), form)
    assert pixels.shape == (1, 3, 224, 224)
    print(fit, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.fixture(scope="module")
def peaks() -> dict[str, float]:
    """MiB that a process has needed on top of a huge picture, once each fit was made, by fit."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", PEAKS, "crop", "pad"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return {fit: float(peak) for fit, peak in (line.split() for line in done.stdout.splitlines())}


@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process's memory is read the POSIX way")
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_huge_picture_is_not_copied(fit, peaks):
    """It takes 927 MiB itself; less than a third of that is needed on top."""
    assert peaks[fit] < 300
