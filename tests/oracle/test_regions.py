"""Regions: several image prompts with masks from one adapter, against diffusers' several images with masks."""

from __future__ import annotations

import pytest
import torch
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.prompts.prompt import Overlap
from pack.ipadapter.prompts.regions import add_region, place_in_region
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.oracle.reference import Features, reference_with, roles_by_cfg, set_scales
from tests.oracle.test_masks import halves, soft
from tests.small import SD15, SHALLOW_SDXL, make_pair
from tests.world import Settings, adapter_file, host_adapter, sample

TOLERANCE = 1e-5
PROMPTS = [image_prompt(seed=seed) for seed in (3, 4, 5)]


def regions(masks, weights, overlap):
    """One prompt of several regions."""
    made = None
    for prompt, mask, weight in zip(PROMPTS, masks, weights, strict=False):
        made = add_region(made, place_in_region(prompt, mask, weight, overlap))
    return made


def difference(layout, masks, weights, overlap, expected_masks, settings) -> float:
    """Ours with these masks beside diffusers with those."""
    file, prompt = adapter_file(layout, "base"), regions(masks, weights, overlap)
    applied = apply_image_prompt(make_pair(layout).host, host_adapter(file), prompt, Strength(0.8))
    _, calls = sample(applied, layout, settings)
    reference = reference_with(layout, [file], 1.0)
    set_scales(reference.unet, [[0.8 * weight for weight in weights]])
    embeds = torch.cat([part.positive.image_embeds for part in prompt.parts])
    given = [Features(embeds, torch.zeros_like(embeds))]
    stacked = [torch.cat(expected_masks).unsqueeze(0)]  # (1, n, H, W), as diffusers has several images of one adapter
    return max(
        (reference.noise(call, roles_by_cfg(call), given, stacked) - call.output).abs().max().item() for call in calls
    )


@pytest.mark.parametrize("layout", [SD15, SHALLOW_SDXL], ids=["sd15", "sdxl"])
def test_regions_beside_each_other_equal_diffusers_images_with_masks(layout):
    masks = [halves(128, 128), 1 - halves(128, 128)]
    settings = Settings(batch=1 if layout is SHALLOW_SDXL else 2)
    assert difference(layout, masks, [1.0, 0.5], Overlap.SHARE, masks, settings) <= TOLERANCE


def test_overlapping_regions_that_add_equal_diffusers_images_with_masks():
    masks = [soft(128, 256), halves(128, 256), torch.ones(1, 128, 256)]
    settings = Settings(size=(16, 32))
    assert difference(SD15, masks, [1.0, 0.5, 0.3], Overlap.ADD, masks, settings) <= TOLERANCE


def test_overlapping_regions_that_share_have_masks_that_sum_to_one():
    masks = [soft(128, 128), halves(128, 128), torch.ones(1, 128, 128)]
    crowd = sum(masks).clamp(min=1)
    shared = [mask / crowd for mask in masks]
    assert difference(SD15, masks, [1.0, 1.0, 1.0], Overlap.SHARE, shared, Settings()) <= TOLERANCE
