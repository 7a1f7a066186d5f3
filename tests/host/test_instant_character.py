"""What is InstantCharacter's own: K' and V' that follow the noise level in FLUX, and one image on both sides."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management
import pytest
import torch
from pack.ipadapter.attention import application
from pack.ipadapter.attention.packing import invert, repeat_negative
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.adapters.describing import describe_loaded
from pack.ipadapter.host.sampling.patching import apply_image_prompt, rows_of
from pack.ipadapter.prompts.prompt import Feature
from pack.ipadapter.strength.scaling import Linear
from pack.ipadapter.strength.strength import Strength

from tests.flux import FLUX, SMALL, WIDTH, flux_adapter, flux_picture, flux_prompt, make_flux, sample_flux, with_cfg
from tests.host.test_cost import image_attentions
from tests.sd3 import make_sd3
from tests.world import host_adapter
from tools.bench import counting

FAMILY = "InstantCharacter"
TOKENS, LAYERS = 8, SMALL.double + SMALL.single
EVEN = replace(FLUX, size=(8, 6))


def apply(model=None, prompt=None, strength=None, adapter=None, **kwargs):
    adapter = adapter or host_adapter(flux_adapter(FAMILY))
    return apply_image_prompt(model or make_flux(), adapter, prompt or flux_prompt(), strength or Strength(), **kwargs)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_keys_and_values_are_made_once_for_a_noise_level(sampler, monkeypatch):
    levels, make = [], application.packed_at
    monkeypatch.setattr(application, "packed_at", lambda *args: levels.append(args[-1]) or make(*args))
    _, calls = sample_flux(apply(), replace(with_cfg(), sampler=sampler, steps=3))
    assert len(levels) == len({*levels}) == 3 <= len(calls)


def test_what_does_not_follow_the_noise_level_is_made_once():
    adapter, runs = host_adapter(flux_adapter(FAMILY)), []
    block = adapter.patcher.model.image_proj.cross_layer_blocks[0]
    with block.register_forward_hook(lambda *_: runs.append(1)):
        flux_picture(apply(adapter=adapter), replace(FLUX, steps=3))
    assert len(runs) == 1


def test_the_image_on_both_sides_is_made_and_held_once():
    """A row of K' and V' that all rows of a call are filled with."""
    model = apply()
    (app,) = rows_of(model).applications
    assert (app.packed.positives, app.packed.negatives) == (1, 0)
    made = app.packed.make(0.5)
    assert made.still.shape == (1, 2 * LAYERS * TOKENS * WIDTH) and made.scaled is None


def test_beside_an_inverted_layer_the_image_stands_on_both_sides_of_the_others():
    rows = torch.tensor([[1.0], [2.0]])  # of two frames, and none of an unconditional
    assert torch.equal(repeat_negative(Linear(rows, -rows), 2).still, torch.cat([rows, rows]))
    assert torch.equal(invert(Linear(rows, -rows), 2).scaled, torch.cat([0 * rows, -rows]))


def test_the_hosts_memory_management_loads_the_adapter_for_a_run():
    adapter = host_adapter(flux_adapter(FAMILY))
    model = apply(adapter=adapter)
    assert {*model.model_patches_models()} == {adapter.patcher}
    assert not apply(adapter=host_adapter(flux_adapter("InstantX FLUX"))).model_patches_models()
    expected = flux_picture(model)
    comfy.model_management.unload_all_models()
    loaded = []

    def look(*_):
        loaded.append(adapter.patcher in comfy.model_management.loaded_models())

    with model.model.diffusion_model.register_forward_pre_hook(look):
        assert torch.equal(flux_picture(model), expected)
    assert loaded and all(loaded)


def test_a_step_waits_for_nothing_and_attends_once_more_in_each_block():
    steps = (counting.ops_of_a_step(model, lambda model: flux_picture(model, EVEN)) for model in (apply(), make_flux()))
    ops = counting.extra(*steps)
    assert counting.syncs(ops) == 0
    assert image_attentions(ops) == LAYERS + 4  # of the projection's four layers


def test_nothing_is_left_after_a_run():
    model = apply()
    flux_picture(model)
    rows = rows_of(model)
    assert not rows.made and not rows.placed


def test_half_precision_is_full_precision_to_its_digits():
    half, full = (make_flux(dtype=dtype) for dtype in (torch.float16, torch.float32))
    bare = flux_picture(full)
    pictures = [flux_picture(apply(model=model)) for model in (half, full)]
    assert (pictures[0] - pictures[1]).abs().max() <= 0.02 < (pictures[1] - bare).abs().max()


def test_a_prompt_of_one_encoder_is_refused_naming_both_and_the_node():
    prompt = flux_prompt()
    (part,) = prompt.parts
    alone = replace(prompt, parts=(replace(part, positive=part.positive.only([Feature.PENULTIMATE])),))
    with pytest.raises(IPAdapterError, match="reads hidden states of several layers 128 wide, .* which gives none"):
        apply(prompt=alone)


def test_another_model_is_refused():
    with pytest.raises(IPAdapterError, match="is for FLUX.1 .*the model is a pruned SD3.5 Large"):
        apply(model=make_sd3())


def test_a_loaded_adapter_is_described_beside_a_model():
    said = describe_loaded(host_adapter(flux_adapter(FAMILY)), make_flux())
    assert "Kind: InstantCharacter, 8 image tokens 48 wide, reads hidden states of several layers 128 wide" in said
    assert "makes other tokens at each noise level" in said and "No image: nothing of its own" in said
