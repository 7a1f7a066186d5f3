"""SD3.5: the pack equals diffusers, at most 1e-5 apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.ipadapter.adapters.checkpoint import read_checkpoint
from pack.ipadapter.adapters.projection import TimeEmbedding
from pack.ipadapter.host.backbones.sd3 import BlockAttention
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from tests.adapters import AdapterFile
from tests.oracle.sd3_reference import SD3Reference, predict, without_adapter
from tests.plain.public import assert_same, write_safetensors
from tests.sd3 import CFG, LARGE, MEDIUM, OLDER, SD3, make_sd3, sample_sd3, sd3_adapter, sd3_prompt
from tests.world import host_adapter

TOLERANCE = 1e-5


def worst(calls, velocity) -> float:
    """The largest difference over all rows of all calls."""
    assert calls
    return max(
        (velocity(call, row, role) - call.output[row : row + 1]).abs().max().item()
        for call in calls
        for row, role in enumerate(call.roles)
    )


def states(prompt, role: int):
    """What the adapter reads for a row: the images for the positive, else the user's negative, or zeros for each."""
    (part,) = prompt.parts
    if not role:
        return part.positive.penultimate
    return torch.zeros_like(part.positive.penultimate) if part.negative is None else part.negative.penultimate


def apply(file, prompt, weight=1.0, model=None, **kwargs):
    return apply_image_prompt(model or make_sd3(), host_adapter(file), prompt, Strength(weight), **kwargs)


def apart(file, prompt, weight=1.0, settings=SD3, model=None) -> float:
    _, calls = sample_sd3(model or apply(file, prompt, weight), settings)
    reference = SD3Reference(file, weight)
    return worst(calls, lambda call, row, role: reference.velocity(call, row, states(prompt, role)))


@pytest.mark.parametrize("kind", [LARGE, MEDIUM, OLDER], ids=["large", "medium", "older"])
def test_the_small_models_agree_without_an_adapter(kind):
    _, calls = sample_sd3(make_sd3(kind), CFG)
    reference = without_adapter(kind)
    assert worst(calls, lambda call, row, role: predict(reference, call, row)) <= TOLERANCE


@pytest.mark.parametrize("weight", [0.5, 1.0, -0.7])
def test_instantx_equals_diffusers(weight):
    assert apart(sd3_adapter(), sd3_prompt(), weight, replace(SD3, steps=4)) <= TOLERANCE


@pytest.mark.parametrize("negatives", [0, 1])
def test_batches_and_guidance_equal_diffusers(negatives):
    assert apart(sd3_adapter(), sd3_prompt(negatives=negatives), 0.8, CFG) <= TOLERANCE


def test_noise_levels_between_the_steps_equal_diffusers():
    """Samplers that ask for a level beside the schedule's own, or twice for one."""
    for sampler in ("heun", "dpm_2"):
        assert apart(sd3_adapter(), sd3_prompt(), 0.8, replace(SD3, sampler=sampler, steps=3)) <= TOLERANCE


@pytest.mark.parametrize(("images", "negatives"), [(2, 0), (2, 1), (1, 2), (3, 2)])
def test_several_images_equal_diffusers(images, negatives):
    """Whatever the other side has: tokens that were repeated would weigh more beside the picture's own keys."""
    assert apart(sd3_adapter(), sd3_prompt(images, negatives=negatives), 0.8, CFG) <= TOLERANCE


def test_where_blocks_attend_to_the_picture_twice_the_second_attention_is_left_alone():
    """An adapter for SD3.5 Medium, of which none is published."""
    file, prompt, adapter = sd3_adapter(), sd3_prompt(), host_adapter(sd3_adapter())
    medium = replace(adapter.spec.family, base=lambda projection: "SD3.5 Medium")
    spec = replace(adapter.spec, projection=replace(adapter.spec.projection, family=medium))
    _, calls = sample_sd3(apply_image_prompt(make_sd3(MEDIUM), replace(adapter, spec=spec), prompt, Strength(0.8)))
    reference = SD3Reference(file, 0.8).into(MEDIUM)
    assert worst(calls, lambda call, row, role: reference.velocity(call, row, states(prompt, role))) <= TOLERANCE


def test_two_applications_add_up():
    file, prompt = sd3_adapter(), sd3_prompt()
    both = apply(file, prompt, 0.5, model=apply(file, prompt, 0.3))
    assert apart(file, prompt, 0.8, CFG, both) <= TOLERANCE


def test_a_file_with_diffusers_names_is_the_public_one(tmp_path):
    file = sd3_adapter()
    projection = SD3Reference(file, 1.0).model.image_proj.state_dict()
    path = write_safetensors(tmp_path / "diffusers.safetensors", AdapterFile(projection, file.ip_adapter).flat())
    assert "layers.0.ln0.weight" in projection
    assert_same(read_checkpoint(path), file)


def test_the_comparison_would_notice_what_others_get_wrong(monkeypatch):
    """The model's own scale of queries left in them, and tokens of one noise level for all."""
    file, prompt = sd3_adapter(), sd3_prompt()
    with monkeypatch.context() as change:
        change.setattr(BlockAttention, "scales", lambda self, like: (like.new_ones(64), like.new_ones(64)))
        assert apart(file, prompt) > 100 * TOLERANCE
    embed = TimeEmbedding.forward
    monkeypatch.setattr(TimeEmbedding, "forward", lambda self, sigma, like: embed(self, 0.9, like))
    assert apart(file, prompt) > 100 * TOLERANCE
