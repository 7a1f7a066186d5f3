"""Encode Image Prompt by tiles, in detail and with weights, through a real image encoder of the host."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pack.ipadapter.prompts.prompt import ImagePrompt, Order, Part
from pack.nodes.encode import EncodeImagePrompt
from pack.nodes.reference import ImagePromptNoise, PrepareReferenceImage
from torch import Tensor
from torch.nn.functional import avg_pool2d

from tests.host.test_encoder import CONFIGS, SIZE, TOLERANCE, encoder, picture
from tests.refusals import refusal

GRID = SIZE // 14


def encode(image: Tensor, fit: str = "crop", name: str = "CLIP", **more: Any) -> ImagePrompt:
    return EncodeImagePrompt.execute(clip_vision=encoder(name), image=image, fit=fit, **more).result[0]


def part(image: Tensor, fit: str = "crop", **more: Any) -> Part:
    (one,) = encode(image, fit, **more).parts
    return one


def same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=TOLERANCE)


def test_the_new_inputs_change_nothing_by_themselves():
    plain, spelled = part(picture(2)), part(picture(2), order="together", weights="", detail=1, detail_weight=0.5)
    assert torch.equal(plain.positive.penultimate, spelled.positive.penultimate)
    assert plain.weights is None and spelled.weights is None and spelled.order is Order.TOGETHER


STRETCHED = {"SigLIP", "SigLIP2"}


@pytest.mark.parametrize("name", CONFIGS)
def test_auto_fits_a_picture_as_the_encoder_was_trained(name):
    first, *_ = (one for one in EncodeImagePrompt.define_schema().inputs if one.id == "fit")
    assert first.default == "auto"
    image = picture(1, 40, 100)
    made = {fit: encode(image, fit, name).parts[0].positive.image_embeds for fit in ("auto", "crop", "stretch")}
    usual, other = ("stretch", "crop") if name in STRETCHED else ("crop", "stretch")
    assert torch.equal(made["auto"], made[usual]) and not torch.equal(made["auto"], made[other])


@pytest.mark.parametrize("wide", [True, False])
def test_tiles_are_references_of_their_own(wide):
    image = picture(2, 40, 100) if wide else picture(2, 100, 40)
    made = part(image, "tiles").positive
    assert made.penultimate.shape[0] == 6
    for index, start in enumerate((0, 30, 60)):
        tile = image[:, :, start : start + 40] if wide else image[:, start : start + 40]
        assert same(made.penultimate[2 * index : 2 * index + 2], part(tile).positive.penultimate)
        assert same(made.image_embeds[2 * index : 2 * index + 2], part(tile).positive.image_embeds)


@pytest.mark.parametrize("detail", [1, 2])
def test_a_square_picture_is_one_tile(detail):
    image = picture(1, 64, 64)
    one, other = (part(image, fit, detail=detail).positive.penultimate for fit in ("tiles", "crop"))
    assert torch.equal(one, other)


def test_tiles_in_place_are_parts_with_their_rectangle():
    image = picture(1, 40, 80)
    left, right = encode(image, "tiles in place", weights="0.5").parts
    assert same(left.positive.penultimate, part(image[:, :, :40]).positive.penultimate)
    assert same(right.positive.penultimate, part(image[:, :, 40:]).positive.penultimate)
    assert left.region.mask[..., :40].all() and not left.region.mask[..., 40:].any()
    assert torch.equal(right.region.mask, 1 - left.region.mask)
    assert left.weights == right.weights == (0.5,)
    assert len(encode(picture(1, 60, 64), "tiles in place").parts) == 4


def test_frames_can_be_read_by_tiles_in_place():
    parts = encode(picture(3, 40, 80), "tiles in place", order="frame by frame", weights="1, 0.5, 0").parts
    assert [(len(one.positive), one.order, one.weights) for one in parts] == [
        (3, Order.FRAME_BY_FRAME, (1.0, 0.5, 0.0))
    ] * 2


@pytest.mark.parametrize("by", ["transparency", "mask"])
def test_a_subject_that_moves_between_tiles_is_read_where_it_is_in_each_frame(by):
    image, mask = picture(2, 40, 80), torch.zeros(2, 40, 80)
    mask[0, :, :40], mask[1, :, 40:] = 1, 1
    given = {"mask": mask} if by == "mask" else {}
    shown = image if by == "mask" else torch.cat([image, mask[..., None]], dim=-1)
    left, right = encode(shown, "tiles in place", order="frame by frame", **given).parts
    assert (left.weights, right.weights) == ((1.0, 0.0), (0.0, 1.0))
    assert same(left.positive.penultimate[:1], part(image[:1, :, :40]).positive.penultimate)
    assert same(right.positive.penultimate[1:], part(image[1:, :, 40:]).positive.penultimate)
    assert len(left.positive) == len(right.positive) == 2


def test_a_negative_image_is_never_tiled():
    negative = picture(1, 80, 60, seed=3)
    expected = part(negative).positive.penultimate
    for fit in ("tiles", "tiles in place"):
        for one in encode(picture(1, 40, 80), fit, negative_image=negative).parts:
            assert same(one.negative.penultimate, expected)


def test_a_mask_counts_within_the_tiles():
    image, mask = picture(1, 40, 80), torch.zeros(1, 40, 80)
    mask[..., :20] = 1
    changed = image.clone()
    changed[:, :, 30:] = 0
    made = part(image, "tiles", mask=mask).positive
    assert len(made) == 1
    assert same(made.penultimate, part(changed, "tiles", mask=mask).positive.penultimate)
    assert same(made.penultimate, part(image[:, :, :40], mask=mask[..., :40]).positive.penultimate)
    assert not same(made.penultimate, part(image[:, :, :40]).positive.penultimate)
    assert len(encode(image, "tiles in place", mask=mask).parts) == 1


@pytest.mark.parametrize("n", [2, 3, 4])
def test_detail_is_the_pooled_grid_of_the_subtiles(n):
    image = picture(1, n * SIZE, n * SIZE)
    made = part(image, detail=n, detail_weight=0.3)
    assert len(made.positive) == 2 and made.weights == (1.0, 0.3)
    assert same(made.positive.penultimate[0], part(image).positive.penultimate[0])
    rows = image.split(SIZE, dim=1)
    tiles = [[part(tile).positive for tile in row.split(SIZE, dim=2)] for row in rows]
    grids = [[tile.penultimate[0, 1:].T.view(-1, GRID, GRID) for tile in row] for row in tiles]
    stitched = torch.cat([torch.cat(row, dim=2) for row in grids], dim=1)
    flat = [tile for row in tiles for tile in row]
    assert same(made.positive.penultimate[1, 1:], avg_pool2d(stitched, n).flatten(1).T)
    assert same(made.positive.penultimate[1, 0], torch.stack([tile.penultimate[0, 0] for tile in flat]).mean(0))
    assert same(made.positive.image_embeds[1], torch.stack([tile.image_embeds[0] for tile in flat]).mean(0))


def test_detail_of_several_references_follows_them():
    image = picture(2, 112, 112)
    made = part(image, detail=2, weights="1, 0.5", detail_weight=0.5)
    assert made.weights == (1.0, 0.5, 0.5, 0.25)
    alone = part(image[1:], detail=2).positive
    assert same(made.positive.penultimate[[1, 3]], alone.penultimate)


def test_detail_of_weight_0_is_left_out():
    assert torch.equal(
        part(picture(), detail=3, detail_weight=0.0).positive.penultimate, part(picture()).positive.penultimate
    )


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "tiles", "tiles in place"])
@pytest.mark.parametrize("size", [(40, 100), (100, 40), (57, 55), (20, 20), (8, 17)])
def test_every_fit_reads_pictures_of_odd_sizes_in_detail(size, fit):
    if fit == "tiles in place" and size == (8, 17):
        size = (16, 17)
    for one in encode(picture(2, *size, channels=4), fit, detail=2, mask=torch.ones(1, 5, 7)).parts:
        assert one.positive.penultimate.isfinite().all() and len(one.positive) == len(one.weights or one.positive)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in ("SigLIP", "SigLIP2")])
def test_encoders_with_a_class_token_or_none_but_an_embedding_give_detail(name):
    (made,) = encode(picture(1, 64, 64), name=name, detail=2).parts
    assert len(made.positive) == 2


@pytest.mark.parametrize("name", ["SigLIP", "SigLIP2"])
def test_detail_is_refused_where_patches_are_no_square_after_a_class_token(name):
    assert "detail needs an image encoder with a class token" in refusal(encode, picture(), name=name, detail=2)


def test_what_does_not_go_together_is_refused_before_anything_is_encoded():
    ran: list[object] = []
    hook = encoder().model.register_forward_pre_hook(lambda *args: ran.append(args))
    try:
        assert "order is 'frame by frame'" in refusal(encode, picture(2), "tiles", order="frame by frame")
        assert "order is 'frame by frame'" in refusal(encode, picture(2), order="frame by frame", detail=2)
        assert "weights has 3 number(s) for 1 image prompt(s) of 2" in refusal(encode, picture(2), weights="1, 2, 3")
        assert "'much', which is no number" in refusal(encode, picture(2), weights="1, much")
        assert "mask is empty" in refusal(encode, picture(1, 40, 80), "tiles", mask=torch.zeros(1, 40, 80))
        assert "too few to cut into tiles" in refusal(encode, picture(1, 12, 12), "tiles in place")
        assert "image has shape" in refusal(encode, picture(0), "tiles")
        assert "holds NaN" in refusal(encode, torch.full((1, 40, 80, 3), float("nan")), "tiles in place")
    finally:
        hook.remove()
    assert not ran


def test_a_prepared_reference_and_its_mask_go_into_the_encoder():
    mask = torch.zeros(1, 80, 60)
    mask[:, 20:50, 20:40] = 1
    made = PrepareReferenceImage.execute(
        image=picture(), crop="to mask", size=SIZE, sharpening=0.5, margin=0.1, mask=mask
    ).result
    assert [tuple(one.shape) for one in made] == [(1, SIZE, SIZE, 3), (1, SIZE, SIZE)]
    assert part(made[0], mask=made[1]).positive.penultimate.isfinite().all()


@pytest.mark.parametrize("kind", ["fade", "dissolve", "gaussian"])
def test_noise_serves_as_the_negative_image(kind):
    (noise,) = ImagePromptNoise.execute(type=kind, strength=1.0, blur=0.0, seed=4, size=SIZE).result
    assert noise.shape == (1, SIZE, SIZE, 3)
    assert len(part(picture(), negative_image=noise).negative) == 1
