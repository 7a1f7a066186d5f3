"""Masks of regions beside each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.ipadapter.attention.masks import Cut, cut_mask
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Overlap, Part, Region
from pack.ipadapter.prompts.regions import add_region, masks_of, place_in_region

FEATURES = ImageFeatures(torch.zeros(1, 4), None)


def prompt(encoder: str = "an encoder") -> ImagePrompt:
    return ImagePrompt.known((Part(FEATURES),), FEATURES, encoder)


def region(mask, overlap=Overlap.SHARE, weight=1.0):
    return place_in_region(prompt(), mask, weight, overlap)


def left(height=8, width=8):
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def parts(*prompts):
    joined = None
    for one in prompts:
        joined = add_region(joined, one)
    return joined.parts


def test_shared_masks_sum_to_at_most_one():
    first, second = masks_of(parts(region(left()), region(torch.ones(1, 8, 8))), None)
    assert torch.equal(first, left() / 2)
    assert torch.equal(first + second, torch.ones(1, 8, 8))


def test_added_masks_stay_as_they_are():
    given = (left(), torch.ones(1, 8, 8))
    assert all(map(torch.equal, masks_of(parts(*(region(m, Overlap.ADD) for m in given)), None), given))


def test_soft_edges_that_do_not_crowd_are_kept():
    soft = torch.linspace(0, 1, 8).expand(1, 8, 8)
    assert torch.equal(masks_of(parts(region(soft), region(1 - soft)), None)[0], soft)


def test_a_part_without_a_region_acts_everywhere_and_crowds_nobody():
    first, second = masks_of((*parts(region(left())), Part(FEATURES)), None)
    assert torch.equal(first, left()) and second is None


@pytest.mark.parametrize("silent", [{"weight": 0.0}, {"weights": (0.0,)}], ids=str)
def test_a_region_that_says_nothing_has_no_share(silent):
    mute, speaking = parts(region(left()), region(torch.ones(1, 8, 8)))
    _, second = masks_of((replace(mute, **silent), speaking), None)
    assert torch.equal(second, torch.ones(1, 8, 8))
    alone = replace(mute, **silent, region=replace(mute.region, mask=torch.ones(5, 2, 2)))
    assert masks_of((alone, replace(speaking, region=Region(torch.ones(2, 8, 8)))), None)[1].shape[0] == 2


def test_a_mask_over_all_limits_each():
    top = left().mT.contiguous()
    first, second = masks_of(parts(region(left()), region(1 - left())), top)
    assert torch.equal(first, left() * top) and torch.equal(second, (1 - left()) * top)


def test_masks_of_two_sizes_are_brought_to_the_larger():
    first, second = masks_of(parts(region(left(4, 4)), region(1 - left(16, 8))), None)
    assert first.shape == second.shape == (1, 16, 8)


def test_one_prompt_in_two_regions_acts_where_they_meet():
    both = place_in_region(region(left()), left().mT.contiguous(), 0.5, Overlap.ADD)
    assert torch.equal(both.parts[0].region.mask, left() * left().mT) and both.parts[0].weight == 0.5


REFUSED = {
    "lies outside the region its image prompt has": lambda: place_in_region(region(left()), 1 - left(), 1, Overlap.ADD),
    "lies outside the mask of Apply IP-Adapter": lambda: masks_of(parts(region(left())), 1 - left()),
    "batches of 2 and 3": lambda: masks_of(parts(region(left().repeat(2, 1, 1)), region(left().repeat(3, 1, 1))), None),
    "mask is empty": lambda: region(torch.zeros(1, 8, 8)),
    "mask holds NaN": lambda: region(torch.full((1, 8, 8), float("nan"))),
    r"mask has shape \[8, 8\]": lambda: region(torch.ones(8, 8)),
    "two image encoders": lambda: add_region(prompt(), prompt("another")),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_contradictory_regions_are_refused(sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        REFUSED[sentence]()


def test_a_mask_is_cut_as_the_latent_is():
    mask = torch.arange(16.0).repeat_interleave(8).expand(1, 128, 128)  # (1, 128, 128), a number a latent column
    cut = cut_mask(mask, Cut.box(2, 5, 4, 3), (16, 16), 8)
    assert cut.shape == (1, 32, 24) and cut[0, 0, ::8].tolist() == [5.0, 6.0, 7.0]
    wrapped = cut_mask(mask, Cut((0,), (15, 0)), (16, 16), 8)
    assert wrapped[0, 0, ::8].tolist() == [15.0, 0.0]


def test_a_mask_of_another_size_is_cut_in_proportion():
    mask = torch.linspace(0, 1, 64).expand(1, 64, 64)
    cut = cut_mask(mask, Cut.box(0, 8, 16, 8), (16, 16), 8)
    assert cut.shape == (1, 128, 64) and cut.min() > 0.45
