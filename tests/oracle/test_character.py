"""InstantCharacter: the pack equals its authors' projector and processor over diffusers, at most 1e-5 apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.ipadapter.adapters.projection import TimeEmbedding
from pack.ipadapter.backbones.joint import Query
from pack.ipadapter.host.backbones import flux
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.prompts.prompt import Order
from pack.ipadapter.strength.strength import Strength

from tests.flux import FLUX, conditioning, flux_adapter, flux_prompt, make_flux, sample_flux, with_cfg
from tests.oracle.character_reference import CharacterReference
from tests.oracle.test_flux import TOLERANCE, worst
from tests.world import host_adapter

BATCH = replace(FLUX, batch=2)
FAMILY = "InstantCharacter"


def apply(file, prompt, weight=1.0, model=None, **kwargs):
    return apply_image_prompt(model or make_flux(), host_adapter(file), prompt, Strength(weight), **kwargs)


def states_of(prompt, role: int):
    """What an adapter reads for a row: the images on either side, unless the user gave a negative."""
    (part,) = prompt.parts
    return (part.negative if role and part.negative else part.positive).character


def apart(model, files, prompts, weights, settings=FLUX, conds=None) -> float:
    _, calls = sample_flux(model, settings, conds)
    reference = CharacterReference(files, weights)
    return worst(calls, lambda call, row, role: reference.velocity(call, row, [states_of(p, role) for p in prompts]))


@pytest.mark.parametrize("weight", [0.8, -0.7])
def test_instant_character_equals_its_authors_processor(weight):
    file, prompt = flux_adapter(FAMILY), flux_prompt()
    settings = replace(FLUX, steps=3)
    assert apart(apply(file, prompt, weight), [file], [prompt], [weight], settings) <= TOLERANCE


def test_noise_levels_between_the_steps_equal_the_reference():
    file, prompt = flux_adapter(FAMILY), flux_prompt()
    assert apart(apply(file, prompt), [file], [prompt], [1.0], replace(FLUX, sampler="heun", steps=3)) <= TOLERANCE


@pytest.mark.parametrize("negatives", [0, 2])
def test_batches_and_true_guidance_equal_the_reference(negatives):
    """The image stands on the negative side too, unless there is a negative image."""
    file, prompt = flux_adapter(FAMILY), flux_prompt(negatives=negatives)
    assert apart(apply(file, prompt, 0.8), [file], [prompt], [0.8], with_cfg(BATCH)) <= TOLERANCE


def test_several_images_and_two_adapters_equal_the_reference():
    files = [flux_adapter(FAMILY, seed=seed) for seed in (20, 30)]
    prompts = [flux_prompt(images=2, seed=5), flux_prompt(seed=6)]
    both = apply(files[1], prompts[1], 0.9, model=apply(files[0], prompts[0], 0.6))
    assert apart(both, files, prompts, [0.6, 0.9], with_cfg()) <= TOLERANCE


def test_beside_pictures_that_are_only_looked_at_it_equals_the_reference():
    references = [torch.randn(1, 16, 4, 6, generator=torch.Generator().manual_seed(8))]
    conds = (conditioning(11, reference_latents=references), conditioning(12))
    file, prompt = flux_adapter(FAMILY), flux_prompt()
    assert apart(apply(file, prompt), [file], [prompt], [1.0], conds=conds) <= TOLERANCE


def test_frames_stand_on_the_negative_side_each_in_its_picture():
    file, prompt = flux_adapter(FAMILY), flux_prompt(images=2)
    (part,) = prompt.parts
    frames = replace(prompt, parts=(replace(part, order=Order.FRAME_BY_FRAME),))
    settings = replace(with_cfg(BATCH), steps=1)
    ((call,), reference) = sample_flux(apply(file, frames), settings)[1], CharacterReference([file], [1.0])
    for row in range(4):
        states = part.positive.character[row % 2 : row % 2 + 1]
        assert (reference.velocity(call, row, [states]) - call.output[row : row + 1]).abs().max() <= TOLERANCE


def test_the_comparison_would_notice_what_is_easily_got_wrong(monkeypatch):
    """The model's own scale of queries left in them, and tokens of one noise level for all."""
    file, prompt = flux_adapter(FAMILY), flux_prompt()
    with monkeypatch.context() as change:
        change.setitem(flux.QUERIES, Query.UNSCALED, lambda asking: asking.query)
        assert apart(apply(file, prompt, 10.0), [file], [prompt], [10.0]) > 50 * TOLERANCE
    embed = TimeEmbedding.forward
    monkeypatch.setattr(TimeEmbedding, "forward", lambda self, sigma, like: embed(self, 0.9, like))
    assert apart(apply(file, prompt), [file], [prompt], [1.0]) > 50 * TOLERANCE
