"""FLUX: the pack equals diffusers, or the authors' processors over diffusers' transformer, at most 1e-5 apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.ipadapter.backbones.joint import Joining
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from tests.flux import FLUX, SMALL, conditioning, flux_adapter, flux_prompt, make_flux, sample_flux, with_cfg
from tests.oracle.flux_reference import InstantXReference, ToolkitReference, XLabsReference, predict, reference_flux
from tests.world import host_adapter

TOLERANCE = 1e-5
BATCH = replace(FLUX, batch=2)


def embeds_of(prompt, role: int, nothing):
    """What an adapter reads for a row: the images for the positive, else the user's negative or the family's rule."""
    (part,) = prompt.parts
    if not role:
        return part.positive.image_embeds
    return nothing if part.negative is None else part.negative.image_embeds


def roles(call) -> list[int]:
    """Of each row: 0 is the positive."""
    pictures = len(call.x) // len(call.cond_or_uncond)
    return [role for role in call.cond_or_uncond for _ in range(pictures)]


def worst(calls, velocity) -> float:
    """The largest difference over all rows of all calls."""
    assert calls
    return max(
        (velocity(call, row, role) - call.output[row : row + 1]).abs().max().item()
        for call in calls
        for row, role in enumerate(roles(call))
    )


def xlabs(applied, files, prompts, scales, settings=FLUX, conds=None) -> float:
    _, calls = sample_flux(applied, settings, conds)
    reference = XLabsReference(files, scales)
    return worst(
        calls,
        lambda call, row, role: reference.velocity(call, row, [embeds_of(one, role, one.black) for one in prompts]),
    )


def instantx(applied, file, prompt, scale, settings=FLUX, conds=None, kind=InstantXReference) -> float:
    _, calls = sample_flux(applied, settings, conds)
    reference, nothing = kind(file, scale), torch.zeros(1, prompt.zero_pixels.image_embeds.shape[-1])
    return worst(calls, lambda call, row, role: reference.velocity(call, row, embeds_of(prompt, role, nothing)))


def apply(file, prompt, weight=1.0, model=None, **kwargs):
    return apply_image_prompt(model or make_flux(), host_adapter(file), prompt, Strength(weight), **kwargs)


def test_the_small_models_agree_without_an_adapter():
    _, calls = sample_flux(make_flux(), with_cfg(BATCH))
    assert worst(calls, lambda call, row, role: predict(reference_flux(), SMALL, call, row)) <= TOLERANCE


@pytest.mark.parametrize("weight", [0.5, 1.0, -0.7])
def test_xlabs_equals_diffusers(weight):
    file, prompt = flux_adapter("XLabs FLUX"), flux_prompt()
    assert xlabs(apply(file, prompt, weight), [file], [prompt], [weight]) <= TOLERANCE


@pytest.mark.parametrize("weight", [0.5, 1.0, -0.7])
def test_instantx_equals_its_authors_processor(weight):
    file, prompt = flux_adapter("InstantX FLUX"), flux_prompt()
    assert instantx(apply(file, prompt, weight), file, prompt, weight) <= TOLERANCE


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_ai_toolkits_adapters_equal_its_formula(cfg):
    file, prompt = flux_adapter("ai-toolkit FLUX"), flux_prompt(images=2)
    settings = with_cfg(BATCH, cfg)
    assert instantx(apply(file, prompt, 0.7), file, prompt, 0.7, settings, kind=ToolkitReference) <= TOLERANCE


def test_ai_toolkits_plus_adapters_are_the_same_over_a_resampler():
    """The Resampler is that of the plus adapter, which is compared with the reference elsewhere."""
    file, prompt = flux_adapter("ai-toolkit FLUX plus"), flux_prompt()
    adapter = host_adapter(file)
    resampled = lambda hidden: adapter.patcher.model.tokens(hidden)  # noqa: E731

    class OfHidden(ToolkitReference):
        def project(self, embeds):
            return resampled(embeds)

    _, calls = sample_flux(apply_image_prompt(make_flux(), adapter, prompt, Strength()))
    reference, hidden = OfHidden(file, 1.0), prompt.parts[0].positive.penultimate
    assert worst(calls, lambda call, row, role: reference.velocity(call, row, hidden)) <= TOLERANCE


@pytest.mark.parametrize("negatives", [0, 1])
def test_batches_and_true_guidance_equal_the_references(negatives):
    prompt, settings = flux_prompt(negatives=negatives), with_cfg(BATCH)
    file = flux_adapter("XLabs FLUX")
    assert xlabs(apply(file, prompt), [file], [prompt], [1.0], settings) <= TOLERANCE
    file = flux_adapter("InstantX FLUX")
    assert instantx(apply(file, prompt), file, prompt, 1.0, settings) <= TOLERANCE


def test_several_images_equal_the_references():
    prompt = flux_prompt(images=3)
    file = flux_adapter("XLabs FLUX")
    assert xlabs(apply(file, prompt), [file], [prompt], [1.0]) <= TOLERANCE
    file = flux_adapter("InstantX FLUX")
    assert instantx(apply(file, prompt), file, prompt, 1.0) <= TOLERANCE


def test_two_adapters_at_once_equal_the_reference():
    files = [flux_adapter("XLabs FLUX", seed=seed) for seed in (20, 21)]
    prompts = [flux_prompt(seed=5), flux_prompt(seed=6, images=2)]
    both = apply(files[1], prompts[1], 0.9, model=apply(files[0], prompts[0], 0.6))
    assert xlabs(both, files, prompts, [0.6, 0.9]) <= TOLERANCE


def test_beside_pictures_that_are_only_looked_at_the_adapters_equal_the_references():
    references = [torch.randn(1, 16, 4, 6, generator=torch.Generator().manual_seed(8))]
    conds = (conditioning(11, reference_latents=references), conditioning(12))
    prompt, file = flux_prompt(), flux_adapter("XLabs FLUX")
    assert xlabs(apply(file, prompt), [file], [prompt], [1.0], conds=conds) <= TOLERANCE
    file = flux_adapter("InstantX FLUX")
    assert instantx(apply(file, prompt), file, prompt, 1.0, conds=conds) <= TOLERANCE


def test_the_comparison_would_notice_what_others_get_wrong():
    """Values normalised as keys are, and single blocks whose text gets nothing."""
    file, prompt = flux_adapter("InstantX FLUX"), flux_prompt()
    adapter = host_adapter(file)
    for layer in adapter.patcher.model.layers:
        layer.values = lambda tokens, layer=layer: type(layer).keys(layer, tokens, 2)
    wrong = apply_image_prompt(make_flux(), adapter, prompt, Strength())
    assert instantx(wrong, file, prompt, 1.0) > 50 * TOLERANCE
    family = host_adapter(file).spec.family
    half = replace(family, joining=Joining())
    adapter = host_adapter(file)
    adapter = replace(adapter, spec=replace(adapter.spec, projection=replace(adapter.spec.projection, family=half)))
    adapter.patcher.model.spec = adapter.spec
    assert instantx(apply_image_prompt(make_flux(), adapter, prompt, Strength()), file, prompt, 1.0) > 50 * TOLERANCE
