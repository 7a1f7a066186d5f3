"""References cropped, resized and sharpened."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.ipadapter.images.references import Reference, ReferenceCrop, prepare_reference, sharpen
from torch import Tensor

from tests.refusals import refusal

POSITIONS = [ReferenceCrop.CENTER, ReferenceCrop.TOP, ReferenceCrop.BOTTOM, ReferenceCrop.LEFT, ReferenceCrop.RIGHT]


def picture(height: int = 40, width: int = 60, images: int = 1, channels: int = 3) -> Tensor:
    return torch.rand(images, height, width, channels, generator=torch.Generator().manual_seed(2))


def prepare(image: Tensor, crop: ReferenceCrop, mask: Tensor | None = None, **more) -> Reference:
    return prepare_reference(image, mask, crop, **more)


@pytest.mark.parametrize(
    ("crop", "wide", "tall"),
    [
        (ReferenceCrop.CENTER, (0, 10), (10, 0)),
        (ReferenceCrop.TOP, (0, 10), (0, 0)),
        (ReferenceCrop.BOTTOM, (0, 10), (20, 0)),
        (ReferenceCrop.LEFT, (0, 0), (10, 0)),
        (ReferenceCrop.RIGHT, (0, 20), (10, 0)),
    ],
)
def test_a_square_is_cut_where_it_is_asked_for(crop, wide, tall):
    for size, (top, left) in (((40, 60), wide), ((60, 40), tall)):
        image = picture(*size)
        made = prepare(image, crop)
        assert torch.equal(made.image, image[:, top : top + 40, left : left + 40])
        assert made.mask.shape == (1, 40, 40) and made.mask.all()


def test_pad_adds_grey_that_does_not_count():
    image = picture(40, 61)
    made = prepare(image, ReferenceCrop.PAD)
    assert made.image.shape == (1, 61, 61, 3)
    inside = made.mask[0].bool()
    assert inside.sum() == 40 * 61 and torch.equal(made.image[0][inside].view(40, 61, 3), image[0])
    assert (made.image[0][~inside] == 0.5).all()


def test_none_keeps_the_picture_and_its_shape():
    image = picture(40, 60, 2)
    assert torch.equal(prepare(image, ReferenceCrop.NONE).image, image)
    assert prepare(image, ReferenceCrop.NONE, size=20).image.shape == (2, 20, 30, 3)


@pytest.mark.parametrize("crop", [crop for crop in ReferenceCrop if crop is not ReferenceCrop.NONE])
@pytest.mark.parametrize("size", [1, 8, 224, 336])
@pytest.mark.parametrize("shape", [(40, 60), (8, 8), (8, 512), (63, 8)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_picture_becomes_a_square_of_the_size(crop, size, shape, channels):
    made = prepare(picture(*shape, 2, channels), crop, torch.ones(1, *shape), size=size, sharpening=1.0)
    assert made.image.shape == (2, size, size, 3) and made.mask.shape == (2, size, size)
    assert made.image.isfinite().all() and made.image.min() >= 0 and made.image.max() <= 1


def marked(height: int, width: int, top: int, left: int, bottom: int, right: int) -> Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, top:bottom, left:right] = 1
    return mask


def test_to_mask_is_a_square_around_what_is_marked():
    image = picture(100, 100)
    made = prepare(image, ReferenceCrop.TO_MASK, marked(100, 100, 40, 30, 60, 50))
    assert torch.equal(made.image, image[:, 40:60, 30:50]) and made.mask.all()
    made = prepare(image, ReferenceCrop.TO_MASK, marked(100, 100, 40, 30, 60, 40), margin=0.5)
    assert torch.equal(made.image, image[:, 30:70, 15:55])
    assert torch.equal(made.mask, marked(40, 40, 10, 15, 30, 25))


def test_to_mask_stays_within_the_picture_where_it_can():
    image = picture(100, 100)
    made = prepare(image, ReferenceCrop.TO_MASK, marked(100, 100, 90, 0, 100, 10), margin=0.5)
    assert torch.equal(made.image, image[:, 80:100, 0:20])
    wide = prepare(picture(20, 100), ReferenceCrop.TO_MASK, marked(20, 100, 0, 10, 20, 50))
    assert wide.image.shape == (1, 40, 40, 3) and wide.mask.sum() == 20 * 40
    assert torch.equal(wide.image[:, 10:30], picture(20, 100)[:, :, 10:50])


def test_a_large_margin_ends_at_the_picture():
    made = prepare(picture(100, 100), ReferenceCrop.TO_MASK, marked(100, 100, 40, 40, 60, 60), margin=2.0)
    assert torch.equal(made.image, picture(100, 100))


@settings(max_examples=60)
@given(st.data())
def test_to_mask_loses_nothing_that_is_marked(data):
    height, width = data.draw(st.tuples(st.integers(8, 90), st.integers(8, 90)))
    top, left = data.draw(st.tuples(st.integers(0, height - 8), st.integers(0, width - 8)))
    bottom = data.draw(st.integers(top + 8, height))
    right = data.draw(st.integers(left + 8, width))
    mask = marked(height, width, top, left, bottom, right)
    made = prepare(picture(height, width), ReferenceCrop.TO_MASK, mask, margin=data.draw(st.floats(0, 2)))
    assert made.image.shape[1] == made.image.shape[2] and made.mask.sum() == mask.sum()


def test_each_image_of_a_batch_is_cropped_to_its_own_mask():
    image = picture(100, 100, 2)
    masks = torch.cat([marked(100, 100, 0, 0, 10, 10), marked(100, 100, 60, 60, 80, 80)])
    made = prepare(image, ReferenceCrop.TO_MASK, masks)
    assert torch.equal(made.image, torch.stack([image[0, :20, :20], image[1, 60:80, 60:80]]))
    assert prepare(image, ReferenceCrop.TO_MASK, masks, size=10).image.shape == (2, 10, 10, 3)


def test_transparency_marks_too():
    image = picture(100, 100, channels=4)
    image[..., 3] = marked(100, 100, 20, 20, 40, 40)
    assert torch.equal(prepare(image, ReferenceCrop.TO_MASK).image, image[:, 20:40, 20:40, :3])
    assert prepare(image, ReferenceCrop.NONE).mask.sum() == 400


def test_a_faint_edge_is_not_marked():
    mask = marked(100, 100, 20, 20, 40, 40)
    mask[:, 0, 0] = 0.2
    assert prepare(picture(100, 100), ReferenceCrop.TO_MASK, mask).image.shape[1] == 20


def test_no_sharpening_leaves_the_picture_as_it_is():
    assert torch.equal(prepare(picture(), ReferenceCrop.NONE, sharpening=0.0).image, picture())


@pytest.mark.parametrize("amount", [0.1, 0.5, 1.0])
def test_sharpening_is_contrast_adaptive(amount):
    x = picture(9, 9).movedim(-1, 1)
    made = sharpen(x, amount)
    up, left, own, right, down = x[..., 3, 4], x[..., 4, 3], x[..., 4, 4], x[..., 4, 5], x[..., 5, 4]
    cross, block = torch.stack([up, left, own, right, down]), x[..., 3:6, 3:6].flatten(2)
    least, most = cross.amin(0) + block.amin(-1), cross.amax(0) + block.amax(-1)
    w = -(torch.minimum(least, 2 - most) / most).sqrt() * (amount * (1 / 5 - 1 / 8) + 1 / 8)
    expected = ((up + left + right + down) * w + own) / (1 + 4 * w)
    assert torch.allclose(made[..., 4, 4], expected.clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_plain_colour_stays_plain(value):
    assert torch.allclose(sharpen(torch.full((1, 3, 8, 8), value), 1.0), torch.tensor(value), atol=1e-6)


def test_sharpening_makes_edges_steeper():
    x = torch.full((1, 1, 8, 8), 0.3)
    x[..., 4:] = 0.6
    made = sharpen(x, 1.0)
    assert made[0, 0, 4, 3] < 0.3 and made[0, 0, 4, 4] > 0.6 and made[0, 0, 4, 0] == pytest.approx(0.3)
    assert sharpen(x, 1.0)[0, 0, 4, 4] > sharpen(x, 0.1)[0, 0, 4, 4]


def test_what_cannot_be_cropped_to_is_refused():
    assert "there is no mask" in refusal(prepare, picture(), ReferenceCrop.TO_MASK)
    assert "1×1 pixels" in refusal(prepare, picture(), ReferenceCrop.TO_MASK, marked(40, 60, 5, 5, 6, 6))
    assert "mask is empty" in refusal(prepare, picture(), ReferenceCrop.TO_MASK, torch.zeros(1, 40, 60))
    two = torch.cat([torch.ones(1, 40, 60), torch.zeros(1, 40, 60)])
    assert "mask 2 of 2" in refusal(prepare, picture(images=2), ReferenceCrop.TO_MASK, two)
    assert "mask has shape" in refusal(prepare, picture(), ReferenceCrop.CENTER, torch.ones(3, 40, 60))


@pytest.mark.parametrize("crop", ReferenceCrop)
def test_what_is_no_picture_is_refused(crop):
    assert "holds NaN" in refusal(prepare, torch.full((1, 40, 40, 3), float("nan")), crop)
    assert "says too little" in refusal(prepare, picture(4, 4), crop)
    assert "image has shape" in refusal(prepare, picture(channels=2), crop)
    assert "mask holds NaN" in refusal(prepare, picture(), crop, torch.tensor([[[1.0, float("nan")]]]))


def test_a_mask_of_another_size_is_brought_to_the_picture():
    assert torch.equal(
        prepare(picture(40, 60), ReferenceCrop.TO_MASK, torch.ones(1, 4, 6)).mask,
        prepare(picture(40, 60), ReferenceCrop.TO_MASK, torch.ones(1, 40, 60)).mask,
    )
