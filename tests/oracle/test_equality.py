"""Equality with the reference: diffusers and the pack on the same random weights, at most 1e-5 apart in float32."""

from __future__ import annotations

import pytest
import torch
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.oracle.reference import Features, reference_with, roles_by_cfg
from tests.small import SD15, SDXL, Layout, make_pair
from tests.world import DEFAULTS, Settings, adapter_file, host_adapter, sample

TOLERANCE = 1e-5
LAYOUTS = {"sd15": SD15, "sdxl": SDXL}


def features(prompt, family: str) -> Features:
    """What diffusers is given: its own unconditional rules."""
    if family == "base":
        embeds = prompt.parts[0].positive.image_embeds
        negative = (
            torch.zeros_like(embeds) if prompt.parts[0].negative is None else prompt.parts[0].negative.image_embeds
        )
        return Features(embeds, negative)
    hidden = prompt.parts[0].positive.penultimate
    zero = prompt.zero_pixels.penultimate.expand(hidden.shape[0], -1, -1)
    return Features(hidden, zero if prompt.parts[0].negative is None else prompt.parts[0].negative.penultimate)


def worst(layout: Layout, applied, files, prompts, families, scale, settings=DEFAULTS, **latents) -> float:
    """The largest difference between the two noise predictions over all calls of a run."""
    _, calls = sample(applied, layout, settings, **latents)
    reference = reference_with(layout, files, scale)
    given = [features(prompt, family) for prompt, family in zip(prompts, families, strict=True)]
    assert calls
    differences = [
        (reference.noise(call, roles_by_cfg(call), given) - call.output).abs().max().item() for call in calls
    ]
    return max(differences)


def apply(layout: Layout, file, prompt, weight: float = 1.0, model=None, **kwargs):
    return apply_image_prompt(model or make_pair(layout).host, host_adapter(file), prompt, Strength(weight), **kwargs)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, -0.7])
@pytest.mark.parametrize("family", ["base", "plus", "full-face"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_noise_prediction_equals_the_reference(name, family, weight):
    layout = LAYOUTS[name]
    file, prompt = adapter_file(layout, family), image_prompt()
    applied = apply(layout, file, prompt, weight)
    assert worst(layout, applied, [file], [prompt], [family], weight) <= TOLERANCE


@pytest.mark.parametrize("cfg", [1.0, 7.5])
@pytest.mark.parametrize("batch", [1, 3])
def test_batches_and_guidance_equal_the_reference(batch, cfg):
    file, prompt = adapter_file(SD15, "plus"), image_prompt()
    settings = Settings(cfg=cfg, batch=batch, size=(16, 24))
    assert worst(SD15, apply(SD15, file, prompt), [file], [prompt], ["plus"], 1.0, settings) <= TOLERANCE


@pytest.mark.parametrize("family", ["base", "plus"])
def test_several_images_in_one_prompt_equal_the_reference(family):
    file, prompt = adapter_file(SD15, family), image_prompt(images=3)
    assert worst(SD15, apply(SD15, file, prompt), [file], [prompt], [family], 1.0) <= TOLERANCE


def test_two_adapters_at_once_equal_the_reference():
    families = ["base", "plus"]
    files = [adapter_file(SD15, family, seed) for seed, family in enumerate(families, 20)]
    prompts = [image_prompt(seed=5), image_prompt(seed=6, images=2)]
    first = apply(SD15, files[0], prompts[0], 0.6)
    both = apply(SD15, files[1], prompts[1], 0.9, model=first)
    assert worst(SD15, both, files, prompts, families, [0.6, 0.9]) <= TOLERANCE


def test_image_to_image_equals_the_reference():
    file, prompt = adapter_file(SD15, "base"), image_prompt()
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    settings = Settings(steps=3, denoise=0.6)
    applied = apply(SD15, file, prompt)
    assert worst(SD15, applied, [file], [prompt], ["base"], 1.0, settings, latent=latent) <= TOLERANCE


def test_inpainting_equals_the_reference():
    file, prompt = adapter_file(SD15, "base"), image_prompt()
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    noise_mask = torch.zeros(1, 1, 128, 128)
    noise_mask[..., 32:96, 32:96] = 1
    applied = apply(SD15, file, prompt)
    difference = worst(
        SD15, applied, [file], [prompt], ["base"], 1.0, Settings(steps=3), latent=latent, noise_mask=noise_mask
    )
    assert difference <= TOLERANCE


@pytest.mark.parametrize("family", ["base", "plus"])
def test_a_negative_image_equals_the_reference(family):
    file, prompt = adapter_file(SD15, family), image_prompt(negatives=1)
    assert worst(SD15, apply(SD15, file, prompt), [file], [prompt], [family], 1.0) <= TOLERANCE


def test_the_comparison_would_notice_a_missing_middle_block():
    file, prompt = adapter_file(SD15, "base"), image_prompt()
    applied = apply(SD15, file, prompt)
    patches = applied.model_options["transformer_options"]["patches_replace"]["attn2"]
    del patches[("middle", 0, 0)]
    assert worst(SD15, applied, [file], [prompt], ["base"], 1.0) > 100 * TOLERANCE
