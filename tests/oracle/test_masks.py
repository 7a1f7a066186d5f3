"""Masks: where in the picture an image prompt acts, against diffusers' own mask code."""

from __future__ import annotations

import pytest
import torch
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.oracle.reference import Features, reference_with, roles_by_cfg
from tests.small import SD15, SHALLOW_SDXL, make_pair
from tests.world import Settings, adapter_file, host_adapter, sample

TOLERANCE = 1e-5


def halves(height: int, width: int) -> torch.Tensor:
    """Left half white."""
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def soft(height: int, width: int) -> torch.Tensor:
    """A gradient with a bright spot off the centre."""
    mask = torch.linspace(0, 1, width).expand(1, height, width).clone()
    mask[:, height // 5 : height // 2, width // 3 : width // 2] = 1
    return mask


def difference(layout, mask, settings, weight=0.8) -> float:
    file, prompt = adapter_file(layout, "base"), image_prompt()
    model = make_pair(layout).host
    applied = apply_image_prompt(model, host_adapter(file), prompt, Strength(weight), mask=mask)
    _, calls = sample(applied, layout, settings)
    reference = reference_with(layout, [file], weight)
    embeds = prompt.parts[0].positive.image_embeds
    given = [Features(embeds, torch.zeros_like(embeds))]
    return max(
        (reference.noise(call, roles_by_cfg(call), given, [mask.unsqueeze(1)]) - call.output).abs().max().item()
        for call in calls
    )


@pytest.mark.parametrize("paint", [halves, soft])
@pytest.mark.parametrize("size", [(16, 16), (16, 32)])
def test_a_mask_equals_the_reference(paint, size):
    height, width = (8 * side for side in size)
    assert difference(SD15, paint(height, width), Settings(size=size, batch=2)) <= TOLERANCE


def test_a_mask_on_sdxl_equals_the_reference():
    assert difference(SHALLOW_SDXL, soft(128, 128), Settings()) <= TOLERANCE


def test_two_adapters_in_two_halves_equal_the_reference():
    files = [adapter_file(SD15, "base", 1), adapter_file(SD15, "plus", 2)]
    prompts = [image_prompt(seed=3), image_prompt(seed=4)]
    masks = [halves(128, 128), 1 - halves(128, 128)]
    model = make_pair(SD15).host
    for file, prompt, mask in zip(files, prompts, masks, strict=True):
        model = apply_image_prompt(model, host_adapter(file), prompt, Strength(1.0), mask=mask)
    _, calls = sample(model, SD15)
    reference = reference_with(SD15, files, [1.0, 1.0])
    given = [
        Features(
            prompts[0].parts[0].positive.image_embeds, torch.zeros_like(prompts[0].parts[0].positive.image_embeds)
        ),
        Features(prompts[1].parts[0].positive.penultimate, prompts[1].zero_pixels.penultimate),
    ]
    for call in calls:
        expected = reference.noise(call, roles_by_cfg(call), given, [mask.unsqueeze(1) for mask in masks])
        assert (expected - call.output).abs().max() <= TOLERANCE


def test_a_batch_of_masks_gives_each_picture_its_own():
    file, prompt, model = adapter_file(SD15, "base"), image_prompt(), make_pair(SD15).host
    masks = torch.cat([halves(128, 128), 1 - halves(128, 128)])

    def outputs(mask):
        applied = apply_image_prompt(model, host_adapter(file), prompt, Strength(1.0), mask=mask)
        return sample(applied, SD15, Settings(batch=2, steps=1))[1][0].output.view(2, 2, 4, 16, 16)

    both, first, second = outputs(masks), outputs(masks[:1]), outputs(masks[1:])
    assert torch.allclose(both[:, 0], first[:, 0], atol=1e-6)
    assert torch.allclose(both[:, 1], second[:, 1], atol=1e-6)
    assert (first - second).abs().max() > 1e-3
