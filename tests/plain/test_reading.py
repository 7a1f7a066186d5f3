"""References by tiles and in detail: geometry, masks and pooling against plain torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.ipadapter.images.pixels import Fit, PixelFormat
from pack.ipadapter.images.tiles import MASK_SIDE, Tiling, rectangle, tile_boxes
from pack.ipadapter.prompts.details import cut_subtiles, grid_side, pool_subtiles
from pack.ipadapter.prompts.prompt import ImageFeatures, Order
from pack.ipadapter.prompts.reading import Reading, make_parts, views_of
from torch import Tensor
from torch.nn.functional import avg_pool2d

from tests.refusals import refusal

SIZE = 16
FORM = PixelFormat(SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def picture(height: int = 40, width: int = 60, images: int = 1, channels: int = 3) -> Tensor:
    return torch.rand(images, height, width, channels, generator=torch.Generator().manual_seed(2))


def corners(height: int, width: int, tiling: Tiling) -> list[tuple[int, int, int]]:
    return [(box.top, box.left, box.height) for box in tile_boxes(height, width, tiling)]


@pytest.mark.parametrize("tiling", Tiling)
@given(short=st.integers(8, 300), ratio=st.floats(1, 64), wide=st.booleans())
def test_square_tiles_cover_all_of_a_picture_evenly(tiling, short, ratio, wide):
    long = int(short * ratio)
    height, width = (short, long) if wide else (long, short)
    boxes = tile_boxes(height, width, tiling)
    covered = torch.zeros(height, width)
    for box in boxes:
        assert box.height == box.width and box.top >= 0 and box.left >= 0
        covered[box.top : box.top + box.height, box.left : box.left + box.width] += 1
    assert covered.min() >= 1
    for edges in ({box.top for box in boxes}, {box.left for box in boxes}):
        gaps = torch.tensor(sorted(edges)).diff()
        assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_tiles_lie_along_the_long_side():
    assert corners(40, 40, Tiling.TOGETHER) == [(0, 0, 40)]
    assert corners(40, 80, Tiling.TOGETHER) == [(0, 0, 40), (0, 40, 40)]
    assert corners(100, 40, Tiling.TOGETHER) == [(0, 0, 40), (30, 0, 40), (60, 0, 40)]
    assert corners(40, 81, Tiling.IN_PLACE) == [(0, 0, 40), (0, 20, 40), (0, 41, 40)]


def test_a_nearly_square_picture_has_two_by_two_in_place():
    assert corners(40, 40, Tiling.IN_PLACE) == [(0, 0, 20), (0, 20, 20), (20, 0, 20), (20, 20, 20)]
    assert corners(40, 50, Tiling.IN_PLACE) == [(0, 0, 25), (0, 25, 25), (15, 0, 25), (15, 25, 25)]
    assert len(corners(75, 100, Tiling.IN_PLACE)) == 2 and len(corners(76, 100, Tiling.IN_PLACE)) == 4
    assert len(corners(133, 100, Tiling.IN_PLACE)) == 2 and len(corners(132, 100, Tiling.IN_PLACE)) == 4


@given(height=st.integers(16, 3000), width=st.integers(16, 3000))
def test_the_rectangles_of_tiles_leave_no_gap(height, width):
    if max(height, width) > 64 * min(height, width):
        return
    masks = [rectangle(box, height, width) for box in tile_boxes(height, width, Tiling.IN_PLACE)]
    assert sum(masks).min() >= 1 and max(masks[0].shape) <= MASK_SIDE
    assert all(mask.any() for mask in masks)


def views(image: Tensor, fit: Fit | Tiling, mask: Tensor | None = None, order: Order = Order.TOGETHER):
    return views_of(image, mask, Reading(fit, order), SIZE)


def test_each_tile_is_its_part_of_the_picture():
    image = picture(16, 32, images=2)
    left, right = (view.pixels(FORM) for view in views(image, Tiling.TOGETHER))
    assert torch.allclose(torch.cat([left, right], dim=3), image.movedim(-1, 1), atol=1 / 255)
    assert [view.references for view in views(image, Tiling.TOGETHER)] == [(0, 1), (0, 1)]


def test_tiles_in_place_act_on_their_rectangle():
    for view in views(picture(16, 32), Tiling.IN_PLACE):
        assert view.region is not None
    left, right = (view.region.mask for view in views(picture(16, 32), Tiling.IN_PLACE))
    assert left[0, :, :16].all() and not left[0, :, 16:].any() and torch.equal(right, 1 - left)
    assert all(view.region is None for view in views(picture(16, 32), Tiling.TOGETHER))


def test_grey_and_transparent_pictures_are_cut_too():
    assert views(picture(16, 32, channels=1), Tiling.TOGETHER)[0].pixels(FORM).shape == (1, 3, SIZE, SIZE)
    clear = picture(16, 32, channels=4)
    clear[:, :, 24:, 3] = 0
    _, right = (view.pixels(FORM) for view in views(clear, Tiling.TOGETHER))
    assert right[..., :8].any() and not right[..., 8:].any()


@pytest.mark.parametrize("fit", Tiling)
def test_a_mask_counts_in_every_tile_and_a_tile_without_any_is_left_out(fit):
    mask = torch.zeros(1, 16, 48)
    mask[..., :4] = 1
    mask[..., 30:] = 1
    seen = views(picture(16, 48), fit, mask)
    assert len(seen) == 3
    mask[..., 30:32] = 0
    seen = views(picture(16, 48), fit, mask)
    assert len(seen) == 2
    first = seen[0].pixels(FORM)
    assert first[..., :4].any() and not first[..., 4:].any()


def test_references_with_masks_of_their_own_keep_their_own_tiles():
    mask = torch.zeros(2, 16, 32)
    mask[0, :, :16] = 1
    mask[1] = 1
    assert [view.references for view in views(picture(16, 32, images=2), Tiling.TOGETHER, mask)] == [(0, 1), (1,)]


def test_a_tile_is_read_of_the_frames_that_count_in_it_and_weighs_nothing_in_the_others():
    mask = torch.ones(3, 16, 32)
    mask[0, :, 16:] = 0
    made = views(picture(16, 32, images=3), Tiling.IN_PLACE, mask, Order.FRAME_BY_FRAME)
    assert [view.references for view in made] == [(0, 1, 2), (1, 2)]
    whole = [ImageFeatures(torch.arange(len(view.references)).float()[:, None] + 1) for view in made]
    reading = Reading(Tiling.IN_PLACE, Order.FRAME_BY_FRAME, (1.0, 0.5, 2.0))
    left, right = make_parts(made, whole, [], reading, 3, None)
    assert left.positive.image_embeds.flatten().tolist() == [1, 2, 3] and left.weights == (1.0, 0.5, 2.0)
    assert right.positive.image_embeds.flatten().tolist()[1:] == [1, 2] and right.weights == (0.0, 0.5, 2.0)


def test_a_frame_that_counts_in_no_tile_is_named():
    clear = picture(16, 32, images=3, channels=4)
    clear[1, ..., 3] = 0
    said = refusal(views, clear, Tiling.IN_PLACE, None, Order.FRAME_BY_FRAME)
    assert "nothing of frame 2 of the reference images" in said
    assert [view.references for view in views(clear, Tiling.IN_PLACE)] == [(0, 2), (0, 2)]


def test_what_cannot_be_cut_is_refused():
    assert "too few to cut" in refusal(views, picture(12, 14), Tiling.IN_PLACE)
    assert "12×14 pixels" in refusal(views, picture(14, 12), Tiling.IN_PLACE)
    assert "says too little" in refusal(views, picture(4, 40), Tiling.TOGETHER)
    clear = picture(16, 32, channels=4)
    clear[..., 3] = 0
    assert "in any of its tiles" in refusal(views, clear, Tiling.TOGETHER)
    assert "mask is empty" in refusal(views, picture(), Tiling.TOGETHER, torch.zeros(1, 4, 4))
    assert "mask has shape" in refusal(views, picture(), Tiling.IN_PLACE, torch.ones(3, 4, 4))


def test_a_mask_of_one_pixel_counts_in_one_tile():
    mask = torch.zeros(1, 16, 32)
    mask[0, 7, 20] = 1
    (view,) = views(picture(16, 32), Tiling.TOGETHER, mask)
    assert view.pixels(FORM).any(dim=1).sum() == 1


def test_one_image_a_frame_leaves_no_room_for_several():
    for several in ({"fit": Tiling.TOGETHER}, {"detail": 2}):
        assert "order is 'frame by frame'" in refusal(Reading, order=Order.FRAME_BY_FRAME, **several)
    Reading(Tiling.IN_PLACE, Order.FRAME_BY_FRAME)
    Reading(order=Order.FRAME_BY_FRAME, detail=2, detail_weight=0.0)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_subtiles_lie_row_by_row(n):
    pixels = torch.rand(2, 3, n * 4, n * 4)
    tiles = cut_subtiles(pixels, n)
    for index in range(2 * n * n):
        row, column = divmod(index % (n * n), n)
        expected = pixels[index // (n * n), :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]
        assert torch.equal(tiles[index], expected)


@pytest.mark.parametrize("grid", [1, 4, 16, 24])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_detail_is_the_subtiles_grid_pooled_back(n, grid):
    embeds, states = torch.randn(2 * n * n, 6), torch.randn(2 * n * n, 1 + grid * grid, 5)
    made = pool_subtiles(ImageFeatures(embeds, states), n)
    assert made.penultimate.shape == (2, 1 + grid * grid, 5)
    for image in range(2):
        own = range(image * n * n, (image + 1) * n * n)
        patches = [states[index, 1:].T.reshape(5, grid, grid) for index in own]
        stitched = torch.cat([torch.cat(patches[row * n : row * n + n], dim=2) for row in range(n)], dim=1)
        pooled = avg_pool2d(stitched, n).flatten(1).T
        assert torch.allclose(made.penultimate[image, 1:], pooled, atol=1e-6)
        assert torch.allclose(made.penultimate[image, 0], states[own.start : own.stop, 0].mean(dim=0), atol=1e-6)
        assert torch.allclose(made.image_embeds[image], embeds[own.start : own.stop].mean(dim=0), atol=1e-6)


def test_an_encoder_without_patch_tokens_gives_detail_of_its_embedding():
    assert pool_subtiles(ImageFeatures(torch.randn(4, 6), None), 2).penultimate is None


@pytest.mark.parametrize("tokens", [0, 1, 3, 16, 256, 261])
def test_tokens_that_are_no_square_are_refused(tokens):
    assert f"makes {tokens} tokens" in refusal(grid_side, tokens)


def encoded(view, grid: int = 2) -> ImageFeatures:
    """Features that tell images apart."""
    count = len(view.references)
    return ImageFeatures(torch.rand(count, 3), torch.rand(count, 1 + grid * grid, 4))


def test_tiles_are_one_part_and_tiles_in_place_one_each():
    image = picture(16, 48, images=2)
    for fit, parts, each in ((Tiling.TOGETHER, 1, 6), (Tiling.IN_PLACE, 3, 2), (Fit.CROP, 1, 2)):
        reading = Reading(fit, weights=(1.0, 0.5))
        seen = views_of(image, None, reading, SIZE)
        made = make_parts(seen, [encoded(view) for view in seen], [], reading, 2, None)
        assert [len(part.positive) for part in made] == [each] * parts
        assert all(part.weights == (1.0, 0.5) * (each // 2) for part in made)


def test_the_detail_of_an_image_has_its_weight():
    image = picture(16, 16, images=2)
    reading = Reading(weights=(1.0, 0.5), detail=2, detail_weight=0.4)
    seen = views_of(image, None, reading, SIZE)
    close = ImageFeatures(torch.rand(8, 3), torch.rand(8, 5, 4))
    (part,) = make_parts(seen, [encoded(seen[0])], [close], reading, 2, None)
    assert part.weights == (1.0, 0.5, 0.4, 0.2)
    assert torch.allclose(part.positive.image_embeds[2], close.image_embeds[:4].mean(dim=0))
